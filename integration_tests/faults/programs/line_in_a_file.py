"""A module and its data by name, for the command line."""

from typing import Any

import torch

import lt


class Line(lt.LTModule):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).pow(2).mean()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", self.layer(batch).pow(2).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Ones(lt.LTDataModule):
    """The same batch twice."""

    def train_dataloader(self) -> Any:
        return [torch.ones(2, 1)] * 2

    def test_dataloader(self) -> Any:
        return [torch.ones(2, 1)] * 2
