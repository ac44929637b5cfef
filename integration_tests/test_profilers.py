"""A profiler looks on: what a run learns stays the same, and the report is about its parts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt

SAMPLES = TensorDataset(torch.linspace(-1, 1, 96).reshape(48, 2))


class Model(lt.LTModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 4), nn.Dropout(), nn.Linear(4, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        with self.trainer.profiler.profile("the loss"):
            loss = self.layers(batch[0]).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.layers(batch[0]).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def fitted(folder: Path, **words: Any) -> tuple[lt.Trainer, Model]:
    lt.seed_everything(3)
    loader = DataLoader(SAMPLES, batch_size=8, shuffle=True)
    trainer = lt.Trainer(
        accelerator="cpu",
        max_epochs=2,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        logger=False,
        enable_progress_bar=False,
        default_root_dir=folder,
        **words,
    )
    model = Model()
    trainer.fit(model, loader, loader)
    return trainer, model


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("simple", "[Feed]TorchFeed.train_dataloader_next"),
        ("advanced", "Profile stats for: [Backend]TorchBackend.clip"),
        ("pytorch", "[Layer]layers.2 (Linear)"),
    ],
)
def test_the_same_bits_with_and_without(
    name: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, expected = fitted(tmp_path)
    assert capsys.readouterr().out == ""
    # Of its table, the slowest rows are shown: which ones those are is a matter of luck.
    profiler = lt.profilers.PyTorchProfiler(row_limit=-1) if name == "pytorch" else name
    profiled, found = fitted(tmp_path, profiler=profiler)

    for weights, theirs in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(weights, theirs)
    assert profiled.callback_metrics == plain.callback_metrics
    report = capsys.readouterr().out
    assert report.startswith("FIT Profiler Report\n")
    for line in (part, "[Module]Model.training_step", "[Backend]TorchBackend.backward", "the loss"):
        assert line in report


def test_a_bare_run_learns_the_same_bits(tmp_path: Path) -> None:
    class Quiet(Model):
        def log(self, *arguments: Any, **words: Any) -> None:
            pass

    data = [[SAMPLES.tensors[0][start : start + 8]] for start in range(0, 48, 8)]
    learnt = []
    words = ({"logger": False, "enable_progress_bar": False}, {"barebones": True})
    for more in words:
        lt.seed_everything(3)
        model = Quiet()
        lt.Trainer(accelerator="cpu", max_epochs=2, **more).fit(model, data, data)
        learnt.append(torch.cat([p.detach().flatten() for p in model.parameters()]))

    assert torch.equal(*learnt)
