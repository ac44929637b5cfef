"""What is trained here: a small network with shuffling, dropout, Adam and validation."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt
from lt_checkpoint import ModelCheckpoint


class Regression(lt.LTModule):
    """A line with noise.

    Args:
        ballast: numbers to save beside, so that an upload takes several parts.
    """

    def __init__(self, ballast: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))
        for index in range(2 if ballast else 0):
            self.register_buffer(f"ballast_{index}", torch.zeros(ballast))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layers(x), y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        # Up and down, so that the best is not the newest.
        loss = nn.functional.mse_loss(self.layers(x), y)
        self.log("val_loss", loss + (self.trainer.global_step % 3))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def loaders() -> tuple[Any, Any]:
    """Return those of training, seven batches, and of validation."""
    x = torch.linspace(-1, 1, 112).reshape(28, 4)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    return DataLoader(data, batch_size=4, shuffle=True), DataLoader(data, batch_size=14)


def fit(
    *callbacks: ModelCheckpoint, ckpt_path: str | None = None, ballast: int = 0, **words: Any
) -> Regression:
    """Train for three epochs, or as the words say; return the module."""
    lt.seed_everything(11 if ckpt_path is None else 12)
    model = Regression(ballast)
    given = {"max_epochs": 3, "accelerator": "cpu", "default_root_dir": Path.cwd(), **words}
    trainer = lt.Trainer(
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **given,
    )
    trainer.fit(model, *loaders(), ckpt_path=ckpt_path)
    return model
