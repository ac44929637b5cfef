"""The size of a batch, and the windows of one optimizer step that batches fall into."""

from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_loop.batches import batch_size_of, windows


class Array:
    """Has a shape, and as the arrays of torch and numpy no truth."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __bool__(self) -> bool:
        raise AssertionError("the truth of an array is ambiguous")


@dataclass
class Record:
    note: str
    inputs: Array


Pair = namedtuple("Pair", ["inputs", "targets"])


# The size of a batch


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (Array(5, 3), 5),
        (Array(), 1),
        ((Array(5, 3), Array(5)), 5),
        ([Array(5, 3), Array(7)], 5),
        (Pair(Array(5), Array(7)), 5),
        ((Array(), Array(7)), 1),
        ({"inputs": Array(5), "targets": Array(7)}, 5),
        (OrderedDict(note="a word", inputs=Array(5)), 5),
        (UserDict(inputs=Array(5)), 5),
        (({"inputs": (Array(5),)}, Array(7)), 5),
        (("a word", 3, None, Array(5)), 5),
        ([[], {}, Array(5)], 5),
        (Record("a word", Array(5)), 5),
        ((Record("a word", Array(5)), Array(7)), 5),
        ([1.0, 2.0, 3.0], 3),
        (("a", "b"), 2),
        (([0.1, 0.2, 0.3, 0.4], [1, 0, 1, 0]), 4),
    ],
)
def test_the_first_array_says_how_many_samples_there_are(batch: Any, size: int) -> None:
    assert batch_size_of(batch) == size


@pytest.mark.parametrize("batch", [None, 3, "a word", [], {}, {"note": None}, ((), {})], ids=repr)
def test_a_batch_without_an_array_is_refused(batch: Any) -> None:
    message = (
        r"^An epoch's mean is weighted by the batch size, which must be known\. Received a batch "
        rf"of type {type(batch).__name__} without an array in it\. Pass log\(\.\.\., batch_size="
    )
    with pytest.raises(ValueError, match=message):
        batch_size_of(batch)


# Windows


def cut(count: int, size: int, start: int = 0) -> list[tuple[int, int, bool]]:
    """Windows by hand: the batches in pieces, each of them with its length."""
    pieces = [range(at, min(at + size, count)) for at in range(0, count, size)]
    return [
        (batch, len(piece), batch == piece[-1])
        for piece in pieces
        for batch in piece
        if batch >= start
    ]


@given(st.integers(0, 30), st.integers(1, 35), st.booleans())
def test_batches_are_cut_into_windows_of_their_real_size(
    count: int, size: int, known: bool
) -> None:
    assert list(windows(iter(range(count)), size, count if known else None)) == cut(count, size)


@given(st.integers(0, 30), st.integers(1, 10), st.integers(0, 10), st.booleans())
def test_a_resumed_epoch_has_the_windows_it_would_have_had(
    count: int, size: int, done: int, known: bool
) -> None:
    start = min(done * size, count)
    rest = iter(range(start, count))

    assert list(windows(rest, size, count if known else None, start=start)) == (
        cut(count, size, start)
    )


def counted(reads: list[int]) -> Iterator[int]:
    for batch in range(7):
        reads.append(batch)
        yield batch


@pytest.mark.parametrize(
    ("size", "length", "read"),
    [(1, 7, [0]), (1, None, [0]), (3, 7, [0]), (3, None, [0, 1, 2])],
)
def test_batches_are_read_ahead_only_where_the_end_is_not_known(
    size: int, length: int | None, read: list[int]
) -> None:
    reads: list[int] = []
    batches = windows(counted(reads), size, length)
    assert reads == []

    next(batches)

    assert reads == read


@pytest.mark.parametrize(("came", "promised", "start"), [(4, 6, 0), (1, 3, 0), (4, 6, 3)])
def test_an_epoch_that_ends_in_the_midst_of_a_window_is_refused(
    came: int, promised: int, start: int
) -> None:
    message = (
        rf"^A loader yields as many batches as its length says\. Received {came} instead of "
        rf"{promised}\. Correct its __len__\.$"
    )
    with pytest.raises(ValueError, match=message):
        list(windows(iter(range(start, came)), 3, promised, start=start))


def test_an_epoch_that_is_short_by_whole_windows_leaves_no_gradient_pending() -> None:
    assert list(windows(iter(range(3)), 3, 9)) == cut(3, 3)


def test_the_size_of_a_dataclass_with_slots_is_that_of_its_arrays() -> None:
    @dataclass(slots=True)
    class Batch:
        name: str
        numbers: list[int]

    assert batch_size_of(Batch("a", [1, 2, 3])) == 3
