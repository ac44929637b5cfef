"""What is a collection of loaders, what is a list of batches, and how one is taken apart."""

from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lt_data import CombinedLoader
from lt_data.structure import is_collection, structure_of

LOADER = DataLoader([1, 2, 3])
TENSOR = torch.ones(2)
Pair = namedtuple("Pair", "first second")


class Own:
    """A loader of somebody's own."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


class Graph:
    """A batch that can be iterated and moved, as those of graph libraries can."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(4))

    def to(self, device: Any) -> "Graph":
        return self


class Numbers(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize(
    "loaders",
    [
        {"a": LOADER},
        {"a": [1, 2]},
        {"a": TENSOR},
        {},
        UserDict(a=LOADER),
        MappingProxyType({"a": LOADER}),
        [LOADER],
        [LOADER, Own()],
        (LOADER, range(3), iter([1])),
        Pair(LOADER, Own()),
        [LOADER, [Own(), Own()]],
        [{"a": LOADER}, {"a": LOADER, "b": (Own(), Own())}],
        [CombinedLoader([LOADER, LOADER]), LOADER],
        [TensorDataset(TENSOR), Numbers()],
    ],
    ids=lambda loaders: type(loaders).__name__,
)
def test_a_collection_is_seen(loaders: Any) -> None:
    assert is_collection(loaders)


@pytest.mark.parametrize(
    "loader",
    [
        LOADER,
        CombinedLoader([LOADER, LOADER]),
        Own(),
        range(3),
        iter([LOADER]),
        "abc",
        TENSOR,
        None,
        [],
        (),
        [TENSOR, TENSOR],
        [(TENSOR, TENSOR), (TENSOR, TENSOR)],
        [[TENSOR], [TENSOR]],
        [[1, 2], [3, 4]],
        [1, 2, 3],
        ["ab", "cd"],
        [b"ab", b"cd"],
        [{1, 2}, {3, 4}],
        [{"x": TENSOR}, {"x": TENSOR}],
        [{"x": [1, 2]}, {"x": [3, 4]}],
        [UserDict(x=TENSOR), UserDict(x=TENSOR)],
        [OrderedDict(x=TENSOR)],
        [Graph(), Graph()],
        [torch.nn.utils.rnn.pack_sequence([TENSOR])],
        [LOADER, TENSOR],
        [LOADER, [1, 2]],
        [None, None],
    ],
    ids=lambda loader: type(loader).__name__,
)
def test_what_is_one_loader_is_none(loader: Any) -> None:
    assert not is_collection(loader)


def test_nothing_is_read_or_measured() -> None:
    class Guarded:
        def __iter__(self) -> Iterator[int]:
            raise AssertionError("was read")

        def __len__(self) -> int:
            raise AssertionError("was measured")

    assert is_collection([Guarded(), Guarded()])
    assert structure_of({"a": Guarded()}).places == ("['a']",)


@pytest.mark.parametrize(
    ("loaders", "places", "built"),
    [
        ({"a": LOADER, 1: LOADER}, ["['a']", "[1]"], {"a": 0, 1: 1}),
        ([LOADER, LOADER], ["[0]", "[1]"], [0, 1]),
        ((LOADER,), ["[0]"], (0,)),
        (Pair(LOADER, LOADER), ["[0]", "[1]"], Pair(0, 1)),
        (
            {"a": [LOADER, {"b": LOADER}], "c": (LOADER, LOADER)},
            ["['a'][0]", "['a'][1]['b']", "['c'][0]", "['c'][1]"],
            {"a": [0, {"b": 1}], "c": (2, 3)},
        ),
        ({"a": [TENSOR, TENSOR], "b": LOADER}, ["['a']", "['b']"], {"a": 0, "b": 1}),
        ([[1, 2], [3, 4]], ["[0]", "[1]"], [0, 1]),
        ([[TENSOR], LOADER], ["[0]", "[1]"], [0, 1]),
        (UserDict(a=LOADER), ["['a']"], {"a": 0}),
        (LOADER, [""], 0),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_collection_is_taken_apart_and_built_again(
    loaders: Any, places: list[str], built: Any
) -> None:
    structure = structure_of(loaders)

    assert list(structure.places) == places
    for values in (range(len(places)), iter(range(len(places)))):
        again = structure.build(values)
        assert again == built
        assert type(again) is type(built)
    if not isinstance(loaders, UserDict):
        assert structure.build(structure.loaders) == loaders


def test_a_list_at_the_top_is_a_collection_whatever_it_holds() -> None:
    first, second = [TENSOR, TENSOR], [TENSOR]

    structure = structure_of([first, second])

    assert structure.loaders == (first, second)
