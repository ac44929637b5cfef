"""An experiment with all that makes going on hard: what the programs here train.

Shuffling, random augmentations of three kinds, dropout, batch normalization, Adam, OneCycle, a
metric object, validation, and a log of every step.
"""

import logging
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy
import torch
import torchmetrics
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import lt
from lt.callbacks import EMAWeightAveraging
from lt.loggers import CSVLogger
from lt_checkpoint import ModelCheckpoint
from lt_loop import Callback

logging.basicConfig(level=logging.INFO)


def note(line: str) -> None:
    """Write a line into the script's folder, so that it is there whatever comes next."""
    file = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


class Samples(Dataset[Any]):
    """Points of a plane, with noise that is drawn anew each time."""

    def __init__(self, count: int, noise: float = 0.1) -> None:
        self.noise = noise
        self.x = torch.linspace(-1, 1, 4 * count).reshape(count, 4)
        self.y = self.x.sum(1, keepdim=True)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = random.random() + numpy.random.rand() + float(torch.rand(()))
        return self.x[index] + self.noise * noise, self.y[index]

    def __len__(self) -> int:
        return len(self.x)


class Regression(lt.LTModule):
    """A small network with everything in it that has a state."""

    def __init__(self, total_steps: int = 100, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        layers = [nn.Linear(4, width), nn.BatchNorm1d(width), nn.Dropout(0.2), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))
        self.error = torchmetrics.MeanSquaredError()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        found = self.layers(x.float())
        loss = nn.functional.mse_loss(found, y)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.error(found, y)
        self.log("error", self.error, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.layers(batch[0].float()), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.05, total_steps=self.hparams.total_steps
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Notes(Callback):
    """Writes down where the run is, and does harm where it was told to.

    Args:
        harm: what to do, once, by ``"hook step"``: the name of a signal that this process sends
            itself, ``"hang"``, or ``"slow"``.
    """

    def __init__(self, harm: dict[str, str]) -> None:
        self.harm = harm

    def at(self, hook: str, trainer: Any) -> None:
        if trainer.sanity_checking:
            return
        what = self.harm.pop(f"{hook} {trainer.global_step}", None)
        if what is None:
            return
        note(f"at {hook} {trainer.global_step}")
        if what == "hang":
            time.sleep(1000)
        elif what == "slow":
            time.sleep(1)
        elif what.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, what))

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        note(f"setup {trainer.global_rank} {os.getpid()}")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        note(f"start {trainer.global_step}")

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.at("on_train_batch_start", trainer)

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.at("on_train_batch_end", trainer)

    def on_validation_batch_start(
        self, trainer: Any, module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.at("on_validation_batch_start", trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.at("on_validation_end", trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.at("on_train_epoch_end", trainer)

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        pass

    def after_save_checkpoint(self, callback: ModelCheckpoint) -> None:
        note(f"saved {callback.last_model_path or callback.best_model_path}")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        note(f"exception {type(exception).__name__}")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        note(f"teardown {stage}")


def loaders(given: dict[str, Any]) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return those of training and of validation."""
    words = {"batch_size": given.get("batch_size", 4), "num_workers": given.get("workers", 0)}
    training = Samples(given.get("samples", 28))
    return DataLoader(training, shuffle=True, **words), DataLoader(Samples(8), batch_size=4)


def trainer(given: dict[str, Any], *callbacks: Any) -> lt.Trainer:
    """Return a trainer that saves after every step into the folder ``checkpoints`` of the root."""
    root = Path(given["root"])
    saving = {"every_n_train_steps": 1, **given.get("saving", {})}
    words: dict[str, Any] = {"max_epochs": 4, "accumulate_grad_batches": 3}
    return lt.Trainer(
        accelerator="cpu",
        logger=CSVLogger(root, name="logs", version=0),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            *callbacks,
            *([EMAWeightAveraging(decay=0.9)] if given.get("ema") else []),
            ModelCheckpoint(root / "checkpoints", "{step}", **saving),
            Notes(given.get("harm", {})),
        ],
        default_root_dir=root,
        **(words | given.get("trainer", {})),
    )
