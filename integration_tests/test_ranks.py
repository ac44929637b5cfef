"""Whole runs on two processes, against one process that does the same work.

Each run of two starts two processes, which costs seconds; so each is made once and looked at often.
"""

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt
import lt_checkpoint
from lt.callbacks import ModelCheckpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]

DIGITS = load_digits()
X = torch.tensor(DIGITS.data / 16)
Y = torch.tensor(DIGITS.target)
TRAIN, TEST = TensorDataset(X[:1408], Y[:1408]), TensorDataset(X[1408:], Y[1408:])
assert len(TRAIN) % 64 == 0
assert len(TEST) % 2 == 1  # one rank has a sample more


class Net(lt.LTModule):
    """A small network in double precision, which notes every sample it is tested on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        loss = nn.functional.cross_entropy(self.layers(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        logits = self.layers(x)
        self.log("val_loss", nn.functional.cross_entropy(logits, y), sync_dist=True)
        self.log("val_acc", (logits.argmax(1) == y).double().mean(), sync_dist=True)
        self.log("seen", float(len(y)), reduce_fx="sum", sync_dist=True)
        self.log("widest", x.sum(1).max(), reduce_fx="max", sync_dist=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch[0].sum(1)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Ran(NamedTuple):
    """A fit of two epochs, and what came home."""

    trainer: lt.Trainer
    model: Net
    keep: ModelCheckpoint


def run(folder: Path, size: int, *, asynchronous: bool = False, **words: Any) -> Ran:
    lt.seed_everything(3)
    model = Net()
    keep = ModelCheckpoint(folder, monitor="val_loss", save_last=True, asynchronous=asynchronous)
    trainer = lt.Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=2,
        callbacks=[keep],
        logger=False,
        enable_progress_bar=False,
        gradient_clip_val=1.0,
        **words,
    )
    trainer.fit(model, DataLoader(TRAIN, size, shuffle=True), DataLoader(TEST, size))
    return Ran(trainer, model, keep)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("one"), 64)


@pytest.fixture(scope="module")
def ddp(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("ddp"), 32, devices=2, strategy="ddp")


@pytest.fixture(scope="module")
def fsdp(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("fsdp")
    return run(folder, 32, asynchronous=True, devices=2, strategy="fsdp")


def weights_of(ran: Ran) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in ran.model.parameters()])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns_on_the_whole_batch(
    strategy: str, one: Ran, request: pytest.FixtureRequest
) -> None:
    two: Ran = request.getfixturevalue(strategy)

    torch.testing.assert_close(weights_of(two), weights_of(one), rtol=1e-9, atol=1e-12)
    assert two.trainer.global_step == one.trainer.global_step == 44
    ours, theirs = dict(two.trainer.callback_metrics), dict(one.trainer.callback_metrics)
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours["seen"] == len(TEST)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_checkpoint_of_two_goes_into_one(
    strategy: str, one: Ran, request: pytest.FixtureRequest
) -> None:
    two: Ran = request.getfixturevalue(strategy)
    path = two.keep.best_model_path
    assert Path(path).name == Path(one.keep.best_model_path).name
    lt_checkpoint.verify(path)

    model = Net().double()
    model.load_state_dict(lt_checkpoint.load(path)["state_dict"])
    again = lt.Trainer(accelerator="cpu", precision="64-true", logger=False)
    (table,) = again.test(model, DataLoader(TEST, 64), verbose=False)

    assert table["val_loss"] == pytest.approx(float(two.keep.best_model_score), rel=1e-9)
    lone = lt.Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=3,
        logger=False,
        enable_progress_bar=False,
        on_mismatch="accept",
    )
    result = lone.fit(
        Net(), DataLoader(TRAIN, 64, shuffle=True), ckpt_path=two.keep.last_model_path
    )
    assert result.progress.steps == 66


def test_an_evaluation_by_two_counts_each_sample_once(ddp: Ran, one: Ran) -> None:
    (table,) = ddp.trainer.test(ddp.model, DataLoader(TEST, 32), verbose=False)
    (alone,) = one.trainer.test(one.model, DataLoader(TEST, 64), verbose=False)
    assert table["seen"] == len(TEST)
    assert table == pytest.approx(alone, rel=1e-9)

    predicted = torch.cat(ddp.trainer.predict(ddp.model, DataLoader(TEST, 32)))
    assert torch.equal(predicted.sort().values, X[1408:].sum(1).sort().values)


class Dying(Net):
    """Its rank 1 is killed in the midst of the second epoch, the first time it comes there."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first = self.trainer.ports.world.restarts == 0
        if first and self.global_rank == 1 and self.global_step == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)


def dying(folder: Path, **words: Any) -> tuple[lt.Trainer, Net]:
    lt.seed_everything(3)
    model = Dying(folder)
    trainer = lt.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision="64-true",
        max_epochs=2,
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=4)],
        logger=False,
        enable_progress_bar=False,
        gradient_clip_val=1.0,
        **words,
    )
    trainer.fit(model, DataLoader(TRAIN, 32, shuffle=True))
    return trainer, model


def test_a_rank_that_is_killed_ends_the_group_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"[Rr]ank 1.*SIGKILL"):
        dying(tmp_path)


def test_a_group_starts_again_from_its_newest_checkpoint(tmp_path: Path, ddp: Ran) -> None:
    trainer, model = dying(tmp_path, max_restarts=1)

    assert trainer.global_step == 44
    for mine, theirs in zip(model.parameters(), ddp.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
