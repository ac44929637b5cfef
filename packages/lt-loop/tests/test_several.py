"""What is a collection of loaders, what is one loader, and how several are read one by one."""

from collections import OrderedDict, UserDict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from toys import Stream

from lt_loop.several import described, is_collection, one_by_one

LOADER = Stream("ab")


class Array:
    """A batch that can be iterated, as a tensor can."""

    shape = (2,)

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


class Graph:
    """A batch that can be iterated and moved to a device."""

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])

    def to(self, device: Any) -> "Graph":
        return self


class Samples:
    """A dataset."""

    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize(
    "loaders",
    [
        *({}, {"a": LOADER}, {"a": [1, 2]}, {"a": Array()}, UserDict(a=LOADER)),
        *([LOADER], (LOADER, range(3)), [LOADER, [LOADER, iter([1])]], [{"a": LOADER}]),
        *([Samples(), Samples()], [LOADER, Stream]),
    ],
    ids=lambda loaders: type(loaders).__name__,
)
def test_a_collection_is_seen(loaders: Any) -> None:
    assert is_collection(loaders)


@pytest.mark.parametrize(
    "loader",
    [
        *(LOADER, range(3), iter([LOADER]), "ab", b"ab", 3, None, Array(), Samples(), Stream),
        *([], (), [1, 2], ["ab"], [b"ab"], [[1], [2]], [(1, 2), (3, 4)], [{1}], [{"x": 1}]),
        *([OrderedDict(x=[1])], [UserDict(x=Array())], [Array(), Array()], [Graph()]),
        *([(Array(), Array())], [LOADER, Array()], [LOADER, [1]], [None]),
    ],
    ids=lambda loader: type(loader).__name__,
)
def test_what_is_one_loader_is_none(loader: Any) -> None:
    assert not is_collection(loader)


FIRST, SECOND, THIRD = Stream("a"), Stream("b"), Stream("c")


@pytest.mark.parametrize(
    "loaders",
    [
        [FIRST, SECOND, THIRD],
        (FIRST, SECOND, THIRD),
        {"x": FIRST, "y": SECOND, "a": THIRD},
        {"x": [FIRST, {"z": SECOND}], "y": THIRD},
        SimpleNamespace(mode="sequential", flattened=[FIRST, SECOND, THIRD], limits=None),
        SimpleNamespace(mode="sequential", flattened=(FIRST, SECOND, THIRD)),
    ],
    ids=lambda loaders: type(loaders).__name__,
)
def test_loaders_are_read_in_their_order(loaders: Any) -> None:
    assert one_by_one(loaders) == [FIRST, SECOND, THIRD]


def test_lists_of_batches_in_a_dict_are_loaders() -> None:
    first, second = [[1], [2]], [3]

    assert one_by_one({"x": first, "y": second}) == [first, second]


@pytest.mark.parametrize(
    "loader",
    [
        FIRST,
        [[1], [2]],
        [],
        None,
        SimpleNamespace(mode="min_size", flattened=[FIRST, SECOND]),
        SimpleNamespace(mode="sequential"),
    ],
    ids=lambda loader: type(loader).__name__,
)
def test_one_loader_is_read_alone(loader: Any) -> None:
    (found,) = one_by_one(loader)

    assert found is loader


@pytest.mark.parametrize("loaders", [{}, {"a": {}}], ids=str)
def test_a_collection_without_loaders_is_refused(loaders: Any) -> None:
    with pytest.raises(ValueError, match=r"^A collection of loaders holds at least one\. Received"):
        one_by_one(loaders)


def test_limits_of_a_combined_loader_are_refused() -> None:
    combined = SimpleNamespace(mode="sequential", flattened=[FIRST], limits=[3])
    message = r"^In a run the trainer limits .* a SimpleNamespace with limits=\[3\]\. Use limit_val"
    with pytest.raises(ValueError, match=message):
        one_by_one(combined)


def test_what_they_are_called() -> None:
    assert described(FIRST) == "Stream"
    assert described([FIRST]) == "list of loaders"
    assert described([[1]]) == "list"
