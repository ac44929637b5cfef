"""Several loaders, read as one in a loop by hand."""

import copy
import pickle
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lt_data import CombinedLoader
from lt_data.modes import MODES, Mode


class Stream:
    """An iterable without a length."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


def loaders() -> dict[str, Any]:
    return {"a": DataLoader(range(6), batch_size=4), "b": DataLoader(range(15), batch_size=5)}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([plain(part) for part in value])
    return value.tolist() if isinstance(value, torch.Tensor) else value


A, B = [[0, 1, 2, 3], [4, 5]], [list(range(5)), list(range(5, 10)), list(range(10, 15))]
EXPECTED: dict[Mode, list[Any]] = {
    "min_size": [
        ({"a": A[0], "b": B[0]}, 0, 0),
        ({"a": A[1], "b": B[1]}, 1, 0),
    ],
    "max_size_cycle": [
        ({"a": A[0], "b": B[0]}, 0, 0),
        ({"a": A[1], "b": B[1]}, 1, 0),
        ({"a": A[0], "b": B[2]}, 2, 0),
    ],
    "max_size": [
        ({"a": A[0], "b": B[0]}, 0, 0),
        ({"a": A[1], "b": B[1]}, 1, 0),
        ({"a": None, "b": B[2]}, 2, 0),
    ],
    "sequential": [
        (A[0], 0, 0),
        (A[1], 1, 0),
        (B[0], 0, 1),
        (B[1], 1, 1),
        (B[2], 2, 1),
    ],
}
"""What Lightning's class of this name yields, copied from its documentation."""


@pytest.mark.parametrize("mode", MODES)
def test_it_yields_what_lightnings_does(mode: Mode) -> None:
    combined = CombinedLoader(loaders(), mode)

    assert [plain(one) for one in combined] == EXPECTED[mode]
    assert len(combined) == len(EXPECTED[mode])


def test_the_shortest_ends_it_by_default() -> None:
    assert CombinedLoader([range(3), range(2)]).mode == "min_size"


@pytest.mark.parametrize("mode", MODES)
def test_iterations_are_independent(mode: Mode) -> None:
    combined = CombinedLoader([range(3), range(2)], mode)
    whole = list(combined)

    first, second = iter(combined), iter(combined)
    next(first)

    assert list(second) == whole
    assert list(first) == whole[1:]


def test_one_loader_is_read_as_it_is() -> None:
    assert list(CombinedLoader(range(2), "max_size")) == [(0, 0, 0), (1, 1, 0)]


def test_random_numbers_are_drawn_as_by_a_loop_over_zip() -> None:
    def shuffled() -> tuple[Any, Any]:
        return DataLoader(range(6), shuffle=True), DataLoader(range(6), shuffle=True)

    torch.manual_seed(0)
    first, second = shuffled()
    expected = [(int(x), int(y)) for x, y in zip(first, second, strict=True)]
    torch.manual_seed(0)
    combined = CombinedLoader(list(shuffled()))

    assert [(int(x), int(y)) for (x, y), _, _ in combined] == expected


# Its parts


def test_the_loaders_are_found_flat_and_in_their_form() -> None:
    first, second, third = range(1), range(2), range(3)
    given = {"a": first, "b": [second, third]}
    combined = CombinedLoader(given)

    assert combined.flattened == [first, second, third]
    assert combined.places == ("['a']", "['b'][0]", "['b'][1]")
    assert combined.iterables == given


def test_the_loaders_can_be_replaced_one_by_one() -> None:
    combined = CombinedLoader({"a": range(3), "b": [range(3), range(3)]})

    combined.flattened = [range(1), [7], [8]]

    assert combined.iterables == {"a": range(1), "b": [[7], [8]]}
    assert [batch for batch, _, _ in combined] == [{"a": 0, "b": [7, 8]}]
    with pytest.raises(ValueError, match=r"flattened has an entry for each .*Received 1 for 3"):
        combined.flattened = [range(1)]


def test_the_flat_list_is_the_callers_own() -> None:
    combined = CombinedLoader([range(3), range(3)])

    combined.flattened.clear()

    assert len(combined.flattened) == 2


Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_it_can_be_copied_and_pickled(copied: Any) -> None:
    combined = CombinedLoader({"a": Pair([1, 2], [3]), "b": [range(2), (range(3),)]}, "max_size")

    assert list(copied(combined)) == list(combined)


# Limits


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("min_size", [[0, 0]]),
        ("max_size", [[0, 0], [1, None]]),
        ("max_size_cycle", [[0, 0], [1, 0]]),
        ("sequential", [0, 1, 0]),
    ],
)
def test_limits_cut_each_loader(mode: Mode, expected: list[Any]) -> None:
    combined = CombinedLoader([range(9), range(9)], mode)
    assert combined.limits is None

    combined.limits = [2, 1]

    assert combined.limits == [2, 1]
    assert [batch for batch, _, _ in combined] == expected
    assert len(combined) == len(expected)


def test_a_number_is_the_limit_of_every_loader() -> None:
    combined = CombinedLoader([range(9), Stream(9)])

    combined.limits = 2

    assert combined.limits == [2, 2]
    assert len(list(combined)) == 2
    combined.limits = [None, 3]
    assert len(list(combined)) == 3
    combined.limits = None
    assert len(list(combined)) == 9


def test_there_is_a_limit_for_each_loader() -> None:
    with pytest.raises(ValueError, match=r"^limits has an entry for each .*Received 1 for 2 lo"):
        CombinedLoader([range(3), range(3)]).limits = [1]


# What can't be combined


@pytest.mark.parametrize("mode", MODES)
def test_a_length_that_is_not_known_is_refused(mode: Mode) -> None:
    combined = CombinedLoader({"a": range(3), "b": Stream(3)}, mode)

    message = r"^A combined loader has a length where .* Received a Stream at \['b'\], which has no"
    with pytest.raises(TypeError, match=message):
        len(combined)
    assert len(list(combined)) == (6 if mode == "sequential" else 3)


@pytest.mark.parametrize("nothing", [{}, [], ()], ids=str)
def test_it_holds_a_loader(nothing: Any) -> None:
    with pytest.raises(ValueError, match=r"^A combined loader holds at least one loader\. Receiv"):
        CombinedLoader(nothing)


def test_its_mode_is_one_of_four() -> None:
    with pytest.raises(ValueError, match=r"Received mode='min'"):
        CombinedLoader([range(3)], "min")  # type: ignore[arg-type]


class Samples(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ({"a": range(3), "b": Samples()}, r"the dataset Samples at \['b'\], which holds samples"),
        ([TensorDataset(torch.ones(2))], r"the dataset TensorDataset at \[0\]"),
        ({"a": [range(3), DataLoader]}, r"the class DataLoader at \['a'\]\[1\]"),
        ({"a": "x"}, r"'x' at \['a'\]"),
        ([3], r"3 at \[0\]"),
        (3, r"3\."),
    ],
)
def test_what_yields_no_batches_is_refused_and_its_place_named(given: Any, received: str) -> None:
    message = rf"^A combined loader is an iterable of batches\. Received {received}"
    with pytest.raises(TypeError, match=message):
        CombinedLoader(given)


def test_a_generator_can_not_be_read_again_within_an_epoch() -> None:
    generator = (number for number in range(2))
    batches = iter(CombinedLoader({"a": range(3), "b": generator}, "max_size_cycle"))

    assert next(batches)[0] == {"a": 0, "b": 0}
    next(batches)
    with pytest.raises(ValueError, match=r"Received one at \['b'\] that yields nothing then"):
        next(batches)


@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size"])
def test_generators_that_end_together_are_read_once(mode: Mode) -> None:
    generators = [(number for number in range(2)) for _ in range(2)]

    assert [batch for batch, _, _ in CombinedLoader(generators, mode)] == [[0, 0], [1, 1]]
