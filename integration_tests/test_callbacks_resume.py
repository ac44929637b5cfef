"""A run with callbacks that act on training, broken off and resumed from disk: the same bits.

The state goes through the store, so what the callbacks put into it is tensors and plain data.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lt
from lt import callbacks as cb

STEPS_IN_EPOCH, EPOCHS = 4, 4


class Network(lt.LTModule):
    """With dropout, which draws random numbers, and batch normalization, which has buffers."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2))
        self.head = nn.Linear(6, 1)

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(batch).tanh()).square().mean()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


class EveryEpoch(cb.WeightAveraging):
    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return epoch_idx is not None


CALLBACKS: dict[str, Callable[[Path], Any]] = {
    "accumulation": lambda root: cb.GradientAccumulationScheduler({1: 2, 2: 4}),
    "backbone": lambda root: cb.BackboneFinetuning(1),
    "ema": lambda root: cb.EMAWeightAveraging(decay=0.8),
    "every epoch": lambda root: EveryEpoch(),
    "learning rate": lambda root: cb.LearningRateFinder(num_training_steps=15),
    "on exception": lambda root: cb.OnExceptionCheckpoint(root, keep_every=0),
    "spikes": lambda root: cb.SpikeDetection(rtol=50.0),
    "swa": lambda root: cb.StochasticWeightAveraging(0.02, 2, annealing_epochs=2),
    "timer": lambda root: cb.Timer("00:01:00:00"),
    "weights": lambda root: cb.WeightAveraging(),
}
ONLY_WATCH = ("on exception", "spikes", "timer")


@pytest.fixture(scope="module")
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 4, generator=generator) for _ in range(STEPS_IN_EPOCH)]


def trainer(root: Path, *callbacks: Any) -> lt.Trainer:
    return lt.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        callbacks=list(callbacks),
        default_root_dir=root,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )


def seeded() -> Network:
    lt.seed_everything(7)
    return Network()


def equal(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def whole_run(root: Path, make: Callable[[Path], Any] | None, batches: Any) -> tuple[Any, Any]:
    run, model = trainer(root, *([make(root)] if make else [])), seeded()
    run.fit(model, batches, batches[:1])
    return run, model


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("at", [6, 8])  # within an epoch, and between two
def test_the_same_bits(name: str, at: int, batches: Any, tmp_path: Path) -> None:
    make, path = CALLBACKS[name], tmp_path / "state.ckpt"
    whole, expected = whole_run(tmp_path, make, batches)
    first = trainer(tmp_path, make(tmp_path))
    for progress in first.steps(seeded(), batches, batches[:1]):
        if progress.batches == at:
            break
    first.save_checkpoint(path)

    torch.manual_seed(0)  # as in another process
    second = trainer(tmp_path, make(tmp_path))
    second.fit(model := Network(), batches, batches[:1], ckpt_path=path)

    assert equal(model, expected)
    assert second.callback_metrics == whole.callback_metrics


@pytest.mark.parametrize("name", ONLY_WATCH)
def test_what_only_watches_changes_nothing(name: str, batches: Any, tmp_path: Path) -> None:
    plain, expected = whole_run(tmp_path, None, batches)
    watched, model = whole_run(tmp_path, CALLBACKS[name], batches)

    assert equal(model, expected)
    assert watched.callback_metrics == plain.callback_metrics


def test_searching_changes_nothing(batches: Any, tmp_path: Path) -> None:
    """With its own device and generators behind it: dropout draws what it would have drawn."""
    _, expected = whole_run(tmp_path, None, batches)

    model = seeded()
    searching = trainer(tmp_path)
    lt.tuner.Tuner(searching).lr_find(model, batches, num_training=15, update_attr=False)
    searching.fit(model, batches, batches[:1])
    _, during = whole_run(
        tmp_path,
        lambda root: cb.LearningRateFinder(num_training_steps=15, update_attr=False),
        batches,
    )

    assert equal(model, expected)
    assert equal(during, expected)


def test_the_average_is_what_a_checkpoint_holds(batches: Any, tmp_path: Path) -> None:
    """What is tested from a checkpoint is what was validated when it was saved."""
    run = trainer(tmp_path, cb.EMAWeightAveraging(decay=0.8))
    for progress in run.steps(seeded(), batches, batches[:1]):
        if progress.epoch == 2:
            break
    validated = float(run.callback_metrics["val_loss"])
    run.save_checkpoint(tmp_path / "state.ckpt")

    (table,) = trainer(tmp_path).validate(
        Network(), batches[:1], ckpt_path=tmp_path / "state.ckpt", verbose=False
    )

    assert table["val_loss"] == validated


def test_a_failed_run_goes_on_from_disk(batches: Any, tmp_path: Path) -> None:
    class Failing(Network):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            if self.trainer.progress.batches == 6:
                raise RuntimeError("the machine is on fire")
            return super().training_step(batch, batch_idx)

    _, expected = whole_run(tmp_path, None, batches)
    saving = cb.OnExceptionCheckpoint(tmp_path, keep_every=0)
    lt.seed_everything(7)
    with pytest.raises(RuntimeError, match="on fire"):
        trainer(tmp_path, saving).fit(Failing(), batches, batches[:1])

    trainer(tmp_path).fit(model := Network(), batches, batches[:1], ckpt_path=saving.ckpt_path)

    assert equal(model, expected)
