"""In which order several loaders are read as one."""

from collections.abc import Iterator
from itertools import cycle, islice, zip_longest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_data.modes import MODES, Mode, check_mode, length, together

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def items(number: int, count: int) -> list[tuple[int, int]]:
    return [(number, index) for index in range(count)]


def read(mode: Mode, loaders: list[Any], cycling: set[int] | None = None) -> list[tuple[Any, ...]]:
    found = together(
        mode,
        [iter(loader) for loader in loaders],
        again=lambda number: iter(loaders[number]),
        cycling=set() if cycling is None else cycling,
        places=[f"[{number}]" for number in range(len(loaders))],
    )
    return [tuple(values) for values in found]


@given(LENGTHS)
def test_side_by_side(lengths: list[int]) -> None:
    loaders = [items(number, count) for number, count in enumerate(lengths)]
    endless = [cycle(loader) for loader in loaders]

    assert read("min_size", loaders) == list(zip(*loaders, strict=False))
    assert read("max_size", loaders) == list(zip_longest(*loaders))
    assert read("max_size_cycle", loaders) == list(islice(zip(*endless, strict=True), max(lengths)))


@given(LENGTHS)
def test_the_length_is_the_number_of_batches(lengths: list[int]) -> None:
    loaders = [items(number, count) for number, count in enumerate(lengths)]

    for mode in ("min_size", "max_size", "max_size_cycle"):
        assert length(mode, lengths) == len(read(mode, loaders))
    assert length("sequential", lengths) == sum(lengths)


@pytest.mark.parametrize("mode", MODES)
def test_a_length_that_depends_on_an_unknown_one_is_unknown(mode: Mode) -> None:
    assert length(mode, [3, None]) is None
    assert length(mode, [None]) is None


def test_a_loader_begins_anew_only_when_it_is_needed() -> None:
    """Those that end together are not read again: starting workers takes seconds."""
    begun: list[int] = []
    loaders = [[1, 2], [3, 4], [5]]

    def again(number: int) -> Iterator[int]:
        begun.append(number)
        return iter(loaders[number])

    found = together(
        "max_size_cycle",
        [iter(loader) for loader in loaders],
        again=again,
        cycling=set(),
        places="abc",
    )

    assert [list(values) for values in found] == [[1, 3, 5], [2, 4, 5]]
    assert begun == [2]


def test_it_is_known_which_loaders_ended_before() -> None:
    cycling = {1}  # as after the first batch: the second loader was at its end before

    found = read("max_size_cycle", [[1], ["x", "y", "z"]], cycling)

    assert found == [(1, "x")]
    assert cycling == {0, 1}


@pytest.mark.parametrize("empty", [[], iter([1])])
def test_a_loader_that_gives_nothing_when_read_again_is_refused(empty: Any) -> None:
    message = (
        r"^Under max_size_cycle a loader that ends before the others is read again\. Received one "
        r"at \[1\] that yields nothing then\. .* pass an object that can be read anew"
    )
    with pytest.raises(ValueError, match=message):
        read("max_size_cycle", [[1, 2], empty])


def test_a_mode_is_checked() -> None:
    message = (
        r"^A mode of combining loaders is one of min_size, max_size_cycle, max_size, sequential\. "
        r"Received mode='max'\.$"
    )
    with pytest.raises(ValueError, match=message):
        check_mode("max")
