"""Throughput with a clock that is told the time, against sums by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.throughput import HostClock, Throughput


class Time:
    """Stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(time: Time, **words: Any) -> Throughput:
    return Throughput(HostClock(time), **words)


def test_totals_are_told_from_the_first_batch_on() -> None:
    time = Time()
    loop = made(time)
    time.now += 2
    loop.lap(8, length=80)
    time.now += 1
    loop.lap(4, length=20)

    assert loop.compute() == {"time": 3, "batches": 2, "samples": 12, "lengths": 100}


def test_speed_is_told_once_the_window_is_full_and_is_that_of_the_window() -> None:
    time = Time()
    loop = made(time, window_size=3)
    told = []
    for seconds, samples in [(10, 1), (1, 2), (2, 4), (3, 8)]:
        time.now += seconds
        loop.lap(samples)
        told.append(loop.compute())

    assert [set(numbers) for numbers in told[:2]] == [{"time", "batches", "samples"}] * 2
    assert told[2]["device/batches_per_sec"] == 2 / 3
    assert told[2]["device/samples_per_sec"] == 6 / 3
    assert told[3]["device/batches_per_sec"] == 2 / 5
    assert told[3]["device/samples_per_sec"] == 12 / 5
    assert told[3]["time"] == 16


def test_items_flops_and_mfu() -> None:
    time = Time()
    loop = made(time, window_size=2, available_flops=1000)
    for length, flops in [(5, 100), (6, 300)]:
        time.now += 2
        loop.lap(1, length=length, flops=flops)

    told = loop.compute()

    assert told["device/items_per_sec"] == 6 / 2
    assert told["device/flops_per_sec"] == 300 / 2
    assert told["device/mfu"] == 0.15
    assert "batches_per_sec" not in told


def test_without_the_peak_there_is_no_mfu_and_without_flops_no_flops() -> None:
    time = Time()
    loop = made(time, window_size=2, available_flops=1000)
    for flops in (None, 300, 300):
        time.now += 1
        loop.lap(1, flops=flops)
        told = loop.compute()
        assert ("device/mfu" in told) == (loop.batches == 3)

    loop = made(time, window_size=2)
    for _ in range(2):
        time.now += 1
        loop.lap(1, flops=300)
    assert {"device/flops_per_sec"} < set(loop.compute())
    assert "device/mfu" not in loop.compute()


def test_several_processes_are_told_together_and_each() -> None:
    time = Time()
    loop = made(time, window_size=2, world_size=4, available_flops=1000)
    for _ in range(2):
        time.now += 2
        loop.lap(8, length=16, flops=100)

    told = loop.compute()

    assert {name: told[name] for name in told if name.endswith("_per_sec")} == {
        "batches_per_sec": 2,
        "samples_per_sec": 16,
        "items_per_sec": 32,
        "flops_per_sec": 200,
        "device/batches_per_sec": 0.5,
        "device/samples_per_sec": 4,
        "device/items_per_sec": 8,
        "device/flops_per_sec": 50,
    }
    assert told["device/mfu"] == 0.05
    assert not {"mfu", "data_wait"} & set(told)


def test_waits_are_a_share_of_the_window() -> None:
    time = Time()
    loop = made(time, window_size=3)
    for waited in (5, 1, 2):
        time.now += 4
        loop.wait(waited)
        loop.lap(1)

    assert loop.compute()["device/data_wait"] == 3 / 8


def test_another_separator() -> None:
    time = Time()
    loop = made(time, window_size=2, separator=".")
    for _ in range(2):
        time.now += 1
        loop.lap(1)

    assert "device.batches_per_sec" in loop.compute()


def test_a_clock_too_coarse_to_tell_is_believed() -> None:
    loop = made(Time(), window_size=2)
    loop.lap(1)
    loop.lap(1)

    assert loop.compute() == {"time": 0, "batches": 2, "samples": 2}


events = st.lists(
    st.tuples(st.sampled_from(["lap", "lap", "lap", "pause", "compute"]), st.integers(1, 64)),
    max_size=60,
)


@given(events, st.integers(2, 5))
def test_pauses_count_for_nothing(events: list[tuple[str, int]], window: int) -> None:
    """Against the same batches on a clock that stands still in the pauses."""
    time, still = Time(), Time()
    paused, plain = made(time, window_size=window), made(still, window_size=window)
    for what, seconds in events:
        if what == "pause":
            paused.pause()
            time.now += seconds
            paused.resume()
        elif what == "lap":
            time.now += seconds
            still.now += seconds
            paused.lap(seconds)
            plain.lap(seconds)
        elif plain.batches:
            assert paused.compute() == pytest.approx(plain.compute())
    if plain.batches:
        assert paused.compute() == pytest.approx(plain.compute())


def test_starting_again_forgets_all() -> None:
    time = Time()
    loop = made(time, window_size=2)
    for _ in range(3):
        time.now += 1
        loop.lap(1, length=2)
    loop.pause()
    loop.start()
    time.now += 4
    loop.lap(3)

    assert loop.compute() == {"time": 4, "batches": 1, "samples": 3}


def test_resuming_what_was_not_paused_changes_nothing() -> None:
    time = Time()
    loop = made(time)
    time.now += 1
    loop.resume()
    time.now += 1
    loop.lap(1)

    assert loop.compute()["time"] == 2


def test_there_is_nothing_to_tell_before_the_first_batch() -> None:
    with pytest.raises(ValueError, match="before the first one"):
        made(Time()).compute()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"window_size": 1}, r"at least 2, .* Received window_size=1\."),
        ({"available_flops": 0}, r"of one device, or None\. Received available_flops=0\."),
    ],
)
def test_bad_arguments_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(Time(), **words)
