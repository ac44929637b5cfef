"""When validation is due within an epoch."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from lt_loop import Limits
from lt_loop.intervals import BatchInterval, TimeInterval, validation_interval
from lt_loop.progress import Progress
from lt_loop.solo import CountedIterable, OneProcess
from lt_loop.sources import Source


def source(batches: int | None) -> Source:
    return Source(CountedIterable(range(9)), "train", batches, range(9))


class Running:
    """As much of a run as an interval looks at."""

    def __init__(self, world: Any = None, progress: Any = None, **limits: Any) -> None:
        self.limits, self.progress = Limits(**limits), progress or Progress()
        self.ports = SimpleNamespace(world=world or OneProcess())
        self.validates_at: float | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic()


def interval(batches: int | None = 10, *, progress: Any = None, **limits: Any) -> Any:
    run: Any = Running(progress=progress, **limits)
    return validation_interval(run, source(batches))


class Clock:
    """The time, which passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.reads = 1000.0, 0
        monkeypatch.setattr(time, "monotonic", self.read)

    def read(self) -> float:
        self.reads += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("batches", [10, None])
def test_a_whole_epoch_has_no_interval(batches: int | None) -> None:
    assert interval(batches) is None
    assert interval(batches, val_check_interval=1.0) is None


@pytest.mark.parametrize(
    ("batches", "given", "over_at"),
    [
        (10, 3, [3, 6, 9]),
        (10, 10, [10]),
        (10, 1, list(range(1, 11))),
        (None, 4, [4, 8]),
        (10, 0.5, [5, 10]),
        (10, 0.39, [3, 6, 9]),
        (10, 0.001, list(range(1, 11))),
    ],
)
def test_batches_of_an_epoch_are_counted(
    batches: int | None, given: float, over_at: list[int]
) -> None:
    progress = Progress(epoch=3, batches=30)
    each = interval(batches, val_check_interval=given, progress=progress)

    found = []
    for progress.batch in range(1, 11):
        if each.over():
            found.append(progress.batch)
            each.restart()
    assert found == over_at


def test_batches_are_counted_across_epochs() -> None:
    progress = Progress(batch=5)
    each = interval(5, val_check_interval=7, check_val_every_n_epoch=None, progress=progress)
    assert isinstance(each, BatchInterval)
    for progress.batches in range(1, 22):
        assert each.over() is (progress.batches in (7, 14, 21))


def test_more_batches_than_an_epoch_has_are_refused() -> None:
    message = r"^val_check_interval may not exceed the .*Received val_check_interval=11 and 10 trai"
    with pytest.raises(ValueError, match=message):
        interval(10, val_check_interval=11)
    assert interval(None, val_check_interval=11)


def test_a_share_of_an_unknown_number_is_refused() -> None:
    message = (
        r"^val_check_interval as a share needs a loader with a length\. Received "
        r"val_check_interval=0\.5 and a range without\. Give a number of batches or a duration\.$"
    )
    with pytest.raises(ValueError, match=message):
        interval(None, val_check_interval=0.5)


@pytest.mark.parametrize("batches", [10, None])
def test_a_time_is_measured_from_the_last_validation(clock: Clock, batches: int | None) -> None:
    each = interval(batches, val_check_interval="00:00:01:00")
    assert isinstance(each, TimeInterval)
    clock.now += 59
    assert not each.over()
    clock.now += 1
    assert each.over()
    assert each.over(), "until there was a validation"
    clock.now += 30
    each.restart()
    clock.now += 59
    assert not each.over()
    clock.now += 1
    assert each.over()


def test_the_clock_is_read_once_a_batch(clock: Clock) -> None:
    each = interval(val_check_interval={"minutes": 1})
    before = clock.reads
    for _ in range(5):
        each.over()
    assert clock.reads == before + 5


def test_ranks_go_by_the_first_ones_clock(clock: Clock) -> None:
    class Second(OneProcess):
        rank = 1
        world_size = 2

        def __init__(self) -> None:
            self.first: bool = False

        def broadcast(self, obj: Any, src: int = 0) -> Any:
            return self.first

    world = Second()
    run: Any = Running(world)
    each = TimeInterval(60, run)

    clock.now += 100
    assert each.over() is False
    world.first = True
    assert each.over() is True


def test_a_time_goes_on_where_an_earlier_run_or_loader_left_it(clock: Clock) -> None:
    run: Any = Running()
    TimeInterval(60, run)
    clock.now += 50
    each = TimeInterval(60, run)

    clock.now += 10
    assert each.over()
