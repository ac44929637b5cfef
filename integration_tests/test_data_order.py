"""Going on in the middle of an epoch gives the bits of a run that was never interrupted."""

import random
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

import lt


class Augmented(Dataset[Any]):
    """Samples with noise of three kinds."""

    def __init__(self) -> None:
        self.x = torch.linspace(-1, 1, 26)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = random.random() + numpy.random.rand() + float(torch.rand(()))
        return self.x[index] + noise, self.x[index]

    def __len__(self) -> int:
        return len(self.x)


class Denoising(lt.LTModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self.layers(x[:, None].float()), y[:, None])
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=30)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def loader(kind: str, workers: int) -> DataLoader[Any]:
    words: dict[str, Any] = {"shuffle": True}
    if kind == "weighted":
        words = {"sampler": WeightedRandomSampler(torch.arange(1.0, 27), 26)}
    return DataLoader(Augmented(), batch_size=4, num_workers=workers, **words)


def trainer(**words: Any) -> lt.Trainer:
    quiet = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    return lt.Trainer(accelerator="cpu", max_epochs=3, **dict.fromkeys(quiet, False), **words)


@pytest.mark.parametrize("kind", ["shuffled", "weighted"])
@pytest.mark.parametrize("workers", [(0, 0, 0), (0, 2, 0)])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_interruptions_change_no_bit(
    kind: str, workers: tuple[int, int, int], accumulate: int
) -> None:
    lt.seed_everything(7)
    straight = Denoising()
    expected = trainer(accumulate_grad_batches=accumulate).fit(straight, loader(kind, 0))

    state: Any = None
    for turn, (stop, count) in enumerate(zip((2, 5, None), workers, strict=True)):
        lt.seed_everything(7 if turn == 0 else 100 + turn)
        model, run = Denoising(), trainer(accumulate_grad_batches=accumulate)
        if stop is None:
            result = run.fit(model, loader(kind, count), ckpt_path=state)
            break
        for progress in run.steps(model, loader(kind, count), ckpt_path=state):
            if progress.steps == stop:
                break
        state = run.capture()

    for name, weight in straight.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert result.metrics == expected.metrics
