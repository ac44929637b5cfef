"""Runs whose checkpoints are saved beside the training, and what goes back to them."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lt
from lt.callbacks import ModelCheckpoint
from lt_checkpoint import folder as folders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]

BATCHES = list(torch.linspace(-1, 1, 96, dtype=torch.float64).reshape(8, 4, 3))
BAD = 5


class Net(lt.LTModule):
    """The gradient of one batch is not finite."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        size = self.trainer.world_size
        loss = (self.layer(batch[self.global_rank :: size]) - 1).square().mean()
        return loss * float("nan") if batch_idx == BAD else loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Back(lt.Callback):
    """Leaves a file for each state that a rank goes back to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        step = checkpoint["global_step"]
        (self.folder / f"rank {trainer.global_rank} goes back to {step}").touch()


def fit(folder: Path, **words: Any) -> tuple[Net, Any]:
    model = Net()
    keep = ModelCheckpoint(folder / "saved", "{step}", every_n_train_steps=1, asynchronous=True)
    trainer = lt.Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=1,
        on_nonfinite="rollback",
        callbacks=[keep, Back(folder)],
        logger=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        **words,
    )
    result = trainer.fit(model, BATCHES)
    return model, result


@pytest.mark.parametrize("words", [{}, {"devices": 2, "strategy": "ddp"}], ids=["one", "ddp"])
def test_a_rollback_goes_back_to_the_save_that_is_on_its_way(
    words: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest checkpoint is still being written when the run goes back to it."""
    write = folders.Folder.write

    def slow(self: Any, *given: Any, **more: Any) -> Any:
        time.sleep(0.2)
        return write(self, *given, **more)

    monkeypatch.setattr(folders.Folder, "write", slow)
    model, result = fit(tmp_path, **words)

    assert (result.progress.steps, result.progress.skipped_steps) == (7, 0)
    told = {path.name for path in tmp_path.glob("rank*")}
    assert told == {f"rank {rank} goes back to {BAD}" for rank in range(words.get("devices", 1))}
    plain = Net()
    plain.double()
    optimizer = plain.configure_optimizers()
    for index, batch in enumerate(BATCHES):
        if index != BAD:
            optimizer.zero_grad()
            (plain.layer(batch) - 1).square().mean().backward()
            optimizer.step()
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
