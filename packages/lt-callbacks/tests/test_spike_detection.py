"""SpikeDetection: the rule against a table that hypothesis extends, the callback in runs."""

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks import LambdaCallback, SpikeDetection
from lt_callbacks.spike_detection import TrainingSpikeException
from lt_callbacks.spike_rule import SpikeRule

TABLE = [  # losses, the indices of the spikes among them, arguments
    ([1.0, 1.0, 1.0, 3.0], [3], {}),  # three times the mean: away from it by twice the mean
    ([1.0, 1.0, 1.0, 2.9], [], {}),
    ([1.0, 1.0, 100.0, 1.0, 100.0], [2, 4], {}),  # spikes are not remembered
    ([3.0, 2.0, 1.0, 0.5], [], {"rtol": 0.0}),  # each better than the one before
    ([1.0, 1.0, 1.6], [2], {"atol": 0.5, "rtol": None}),
    ([1.0, 1.0, 1.6], [], {"atol": 0.5, "rtol": 1.0}),  # both must be exceeded
    ([1.0, 1.0, -4.0], [2], {"mode": "max"}),
    ([1.0, math.nan, 1.0, math.inf], [1, 3], {}),
    ([1.0, math.nan, 1.0, math.inf], [], {"finite_only": False}),
    ([8.0, 1.0, 1.0, 3.5], [3], {"window": 2}),  # 8 is forgotten
    ([8.0, 1.0, 1.0, 3.5], [], {"window": 3}),
]


def spikes(losses: list[float], **words: Any) -> list[int]:
    rule, found = SpikeRule(**words), []
    for index, loss in enumerate(losses):
        if index and rule.is_spike(loss):
            found.append(index)
        else:
            rule.remember(loss)
    return found


@pytest.mark.parametrize(("losses", "expected", "words"), TABLE)
def test_the_table(losses: list[float], expected: list[int], words: Any) -> None:
    assert spikes(losses, **words) == expected


@given(
    losses=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    window=st.integers(1, 6),
    rtol=st.floats(0, 4),
    atol=st.none() | st.floats(0, 10),
    mode=st.sampled_from(["min", "max"]),
)
def test_the_definition(
    losses: list[float], window: int, rtol: float, atol: float | None, mode: Any
) -> None:
    """Written down anew from the whole history, with the standard library's mean."""
    calm: list[float] = []
    expected = []
    for index, loss in enumerate(losses):
        if index:
            mean = statistics.fmean(calm[-window:])
            worse = loss > calm[-1] if mode == "min" else loss < calm[-1]
            far = abs(loss - mean) >= rtol * abs(mean)
            if worse and far and (atol is None or abs(loss - mean) >= atol):
                expected.append(index)
                continue
        calm.append(loss)

    assert spikes(losses, window=window, rtol=rtol, atol=atol, mode=mode) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"mode": "mean"}, "mode must be 'min' or 'max'"),
        ({"window": 0}, "window is a number of losses of at least 1"),
        ({"warmup": -1}, "warmup is a number of batches of at least 0"),
        ({"atol": None, "rtol": None}, "with which every loss that rises is one"),
    ],
)
def test_bad_arguments_are_refused(words: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpikeDetection(**words)


class Losses:
    """A program whose losses are its batches."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return batch

    def configure_optimizers(self) -> Any:
        class Still:
            def step(self) -> None: ...
            def zero_grad(self) -> None: ...

        return Still()


class Loss(float):
    def backward(self) -> None: ...


def losses(*values: float) -> list[Loss]:
    return [Loss(value) for value in values]


def test_a_spike_ends_the_run_and_notes_the_batches(tmp_path: Path, make_trainer: Any) -> None:
    trainer = make_trainer(SpikeDetection(exclude_batches_path=tmp_path / "new"))

    with pytest.raises(TrainingSpikeException, match="spike detected in batch 3") as caught:
        trainer.fit(Losses(), losses(1, 1, 1, 50, 1))

    assert caught.value.batch_idx == 3
    assert json.loads((tmp_path / "new" / "skip_batches.json").read_text()) == [2, 3]


def test_the_folder_of_the_trainer_is_the_default(tmp_path: Path, make_trainer: Any) -> None:
    trainer = make_trainer(SpikeDetection(), default_root_dir=tmp_path)

    with pytest.raises(TrainingSpikeException):
        trainer.fit(Losses(), losses(1, 50))

    assert (tmp_path / "skip_batches.json").exists()


def test_the_first_batches_of_an_epoch_are_not_judged(tmp_path: Path, make_trainer: Any) -> None:
    detection = SpikeDetection(warmup=3, exclude_batches_path=tmp_path / "bad.json")
    trainer = make_trainer(detection, max_epochs=2)

    trainer.fit(Losses(), losses(1, 1, 50))

    assert list(detection.rule.losses) == [1, 1, 50, 1, 1, 50]
    assert not (tmp_path / "bad.json").exists()


def test_a_batch_without_a_loss_is_passed_over(make_trainer: Any) -> None:
    detection = SpikeDetection()

    make_trainer(detection, max_epochs=1).fit(Losses(), [*losses(1), None, *losses(1)])

    assert list(detection.rule.losses) == [1, 1]


def test_the_spike_of_another_rank_ends_this_one_too(tmp_path: Path, make_trainer: Any) -> None:
    class Other:
        """This rank of two, and what the other one says."""

        rank, world_size, local_rank = 1, 2, 1

        spikes = False

        def launch(self, main: Any) -> Any:
            return main()

        def reduce(self, values: Any, op: str) -> list[float]:
            return [max(value, float(self.spikes)) for value in values]

        def broadcast(self, obj: Any, src: int = 0) -> Any:
            return obj

        def gather(self, obj: Any) -> list[Any]:
            return [obj, obj]

        def agree(self, code: int) -> int:
            return code

        def barrier(self) -> None: ...

    class Everything:
        def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
            from lt_loop.solo import IterableFeed, OneProcess

            return IterableFeed().open(loader, phase=phase, world=OneProcess())

    detection = SpikeDetection(exclude_batches_path=tmp_path)
    world = Other()

    def hear(trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        world.spikes = batch_idx == 2

    listener = LambdaCallback(on_train_batch_start=hear)
    trainer = make_trainer(listener, detection, world=world, feed=Everything(), max_epochs=1)

    with pytest.raises(TrainingSpikeException, match="batch 2"):
        trainer.fit(Losses(), losses(1, 1, 1, 1))

    assert detection.bad_batches == [1, 2]
    assert not list(tmp_path.iterdir())  # rank 0 writes


def test_the_state_survives(tmp_path: Path, make_trainer: Any) -> None:
    def trainer() -> Any:
        return make_trainer(SpikeDetection(warmup=0, exclude_batches_path=tmp_path), max_epochs=1)

    first = trainer()
    for progress in first.steps(Losses(), losses(1, 2, 3, 50)):
        if progress.steps == 3:
            break
    state = first.capture()
    json.dumps(state["callbacks"])

    with pytest.raises(TrainingSpikeException, match="a loss of 50 after a mean of 2"):
        trainer().fit(Losses(), losses(1, 2, 3, 50), ckpt_path=state)
