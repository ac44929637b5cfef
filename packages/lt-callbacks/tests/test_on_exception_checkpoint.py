"""OnExceptionCheckpoint: what is saved is the last whole state, and a run goes on from it."""

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks import LambdaCallback, OnExceptionCheckpoint
from lt_loop import Trainer
from lt_loop.solo import DuckBackend


class Shelf:
    """A store in memory that also leaves a file, as a real one does."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}

    def save(self, state: Any, name: str, *, metrics: Any = None, world: Any = None) -> None:
        self.states[name] = copy.deepcopy(state)
        Path(name).touch()

    def load(self, name: str, *, world: Any = None) -> Any:
        return self.states[name]

    def list(self) -> Any:
        return list(self.states)

    def remove(self, name: str) -> None:
        del self.states[name]
        Path(name).unlink()


class Network(nn.Linear):
    """Fails at a batch, counted from 0 through all epochs."""

    def __init__(self, fails_at: int = -1) -> None:
        torch.manual_seed(0)
        super().__init__(2, 1)
        self.fails_at, self.seen = fails_at, 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.seen == self.fails_at:
            raise RuntimeError("the machine is on fire")
        self.seen += 1
        return self(batch).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.seen == self.fails_at:
            raise RuntimeError("the machine is on fire")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


@pytest.fixture
def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, 2, generator=generator) for _ in range(4)]


def trainer(store: Any, *callbacks: Any) -> Trainer:
    return Trainer(
        backend=DuckBackend(),
        store=store,
        callbacks=list(callbacks),
        max_epochs=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )


@pytest.mark.parametrize("fails_at", [0, 1, 3, 6])
def test_the_run_goes_on_to_the_same_bits(
    fails_at: int, batches: list[Any], tmp_path: Path
) -> None:
    shelf, callback = Shelf(), OnExceptionCheckpoint(tmp_path, keep_every=0)
    trainer(shelf).fit(whole := Network(), batches)

    with pytest.raises(RuntimeError, match="on fire"):
        trainer(shelf, callback).fit(Network(fails_at), batches)
    state = shelf.load(callback.ckpt_path)
    trainer(shelf).fit(second := Network(), batches, ckpt_path=callback.ckpt_path)

    assert callback.ckpt_path == str(tmp_path / "on_exception.ckpt")
    assert state["global_step"] == fails_at
    assert all(map(torch.equal, second.parameters(), whole.parameters()))


def test_copies_are_taken_by_the_clock(batches: list[Any], tmp_path: Path) -> None:
    now = [0.0]

    def tick(*_: Any) -> None:
        now[0] += 1

    shelf = Shelf()
    callback = OnExceptionCheckpoint(tmp_path, "crash", keep_every=3, clock=lambda: now[0])

    with pytest.raises(RuntimeError):
        trainer(shelf, LambdaCallback(on_train_batch_end=tick), callback).fit(Network(7), batches)

    assert shelf.load(str(tmp_path / "crash.ckpt"))["global_step"] == 6  # of 3 and 6


def test_a_copy_is_not_changed_by_later_steps(batches: list[Any], tmp_path: Path) -> None:
    shelf, callback = Shelf(), OnExceptionCheckpoint(tmp_path)

    with pytest.raises(RuntimeError):
        trainer(shelf, callback).fit(Network(3), batches)

    state = shelf.load(callback.ckpt_path)
    assert state["global_step"] == 0
    assert torch.equal(state["state_dict"]["weight"], Network().weight)


def test_at_a_safe_point_the_moment_itself_is_saved(batches: list[Any], tmp_path: Path) -> None:
    shelf, callback = Shelf(), OnExceptionCheckpoint(tmp_path)
    run = trainer(shelf, callback)

    steps = run.steps(Network(), batches)
    next(steps), next(steps)
    with pytest.raises(ValueError, match="of the caller"):
        steps.throw(ValueError("of the caller"))

    assert shelf.load(callback.ckpt_path)["global_step"] == 2


def test_before_there_is_a_state_nothing_is_saved(batches: list[Any], tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("too early")

    shelf = Shelf()
    run = trainer(shelf, OnExceptionCheckpoint(tmp_path), LambdaCallback(on_fit_start=fail))

    with pytest.raises(RuntimeError, match="too early"):
        run.fit(Network(), batches)
    with pytest.raises(RuntimeError, match="on fire"):
        run.validate(Network(0), batches)

    assert shelf.states == {}


def test_a_run_that_ends_well_removes_what_an_earlier_one_left(
    batches: list[Any], tmp_path: Path
) -> None:
    shelf = Shelf()
    with pytest.raises(RuntimeError):
        trainer(shelf, OnExceptionCheckpoint(tmp_path)).fit(Network(3), batches)
    assert len(shelf.states) == 1

    trainer(shelf, OnExceptionCheckpoint(tmp_path)).fit(Network(), batches)

    assert shelf.states == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"filename": ""}, "A checkpoint has a file name"),
        ({"keep_every": -1}, "keep_every is a number of seconds of at least 0"),
    ],
)
def test_bad_arguments_are_refused(words: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnExceptionCheckpoint(".", **words)


def test_a_url_stays_one() -> None:
    callback = OnExceptionCheckpoint("s3://bucket/run/")
    assert callback.ckpt_path == "s3://bucket/run/on_exception.ckpt"
