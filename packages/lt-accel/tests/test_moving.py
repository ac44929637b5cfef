import collections
import dataclasses
import types
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from lt_accel import move
from lt_accel.moving import Mover, placer

META = torch.device("meta")  # a device other than the CPU that every machine has


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Sample:
    x: Tensor
    name: str = "one"
    later: Any = dataclasses.field(default=None, init=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: Tensor
    parts: list[Tensor]


class Own:
    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def to(self, device: torch.device) -> "Own":
        return Own(str(device))


class Forgetful(Own):
    def to(self, device: torch.device) -> None:  # type: ignore[override]
        self.device = device


class Tagged(list):  # type: ignore[type-arg]
    tag = "kept"


def places(value: Any) -> str:
    return str(value.device)


def test_common_containers() -> None:
    moved = move({"a": [torch.ones(1), 3], "b": (torch.ones(2), "s", None)}, "meta")
    assert list(moved) == ["a", "b"]
    assert isinstance(moved["a"], list)
    assert isinstance(moved["b"], tuple)
    assert places(moved["a"][0]) == places(moved["b"][0]) == "meta"
    assert moved["a"][1] == 3
    assert moved["b"][1:] == ("s", None)


def test_named_tuples_keep_their_type() -> None:
    moved = move(Pair(torch.ones(1), [torch.ones(1)]), META)
    assert type(moved) is Pair
    assert places(moved.x) == places(moved.y[0]) == "meta"


def test_results_of_torch_are_tuples_too() -> None:
    moved = move(torch.ones(2, 2).max(dim=0), META)
    assert type(moved) is torch.return_types.max
    assert places(moved.values) == places(moved.indices) == "meta"
    assert move(torch.Size([2, 3]), META) == torch.Size([2, 3])


def test_dataclasses_are_copied() -> None:
    sample = Sample(torch.ones(1))
    sample.later = torch.ones(2)
    moved = move(sample, META)
    assert type(moved) is Sample
    assert (places(moved.x), places(moved.later), moved.name) == ("meta", "meta", "one")
    assert places(sample.x) == "cpu"
    frozen = move(Frozen(torch.ones(1), [torch.ones(1)]), META)
    assert (places(frozen.x), places(frozen.parts[0])) == ("meta", "meta")
    assert move(Sample, META) is Sample


def test_other_mappings_and_lists_keep_their_class() -> None:
    default = collections.defaultdict(list, x=torch.ones(1))
    moved = move(default, META)
    assert type(moved) is collections.defaultdict
    assert moved.default_factory is list
    assert places(moved["x"]) == "meta"
    assert places(default["x"]) == "cpu"
    assert places(move(types.MappingProxyType({"x": torch.ones(1)}), META)["x"]) == "meta"
    assert places(move(collections.UserDict(x=torch.ones(1)), META)["x"]) == "meta"
    ordered = move(collections.OrderedDict(b=torch.ones(1), a=1), META)
    assert list(ordered) == ["b", "a"]
    tagged = Tagged([torch.ones(1)])
    tagged.tag = "kept on the instance"
    moved_list = move(tagged, META)
    assert (type(moved_list), moved_list.tag) == (Tagged, "kept on the instance")
    assert places(moved_list[0]) == "meta"
    assert places(tagged[0]) == "cpu"


class Doubling(Pair):
    """Makes its second part itself."""

    def __new__(cls, x: Any) -> "Doubling":
        return super().__new__(cls, x, [x])


def test_a_named_tuple_that_makes_parts_of_its_own() -> None:
    moved = move(Doubling(torch.ones(1)), META)
    assert type(moved) is Doubling
    assert places(moved.x) == places(moved.y[0]) == "meta"


def test_a_counter_still_counts_the_same() -> None:
    counter = collections.Counter(a=1, b=2)
    moved = move(counter, META)
    assert type(moved) is collections.Counter
    assert moved == counter == {"a": 1, "b": 2}


def test_deques_and_sets() -> None:
    given = collections.deque([torch.ones(1), 2], maxlen=2)
    moved = move(given, META)
    assert (type(moved), moved.maxlen, places(moved[0]), moved[1]) == (
        collections.deque,
        2,
        "meta",
        2,
    )
    assert places(given[0]) == "cpu"
    for kind in (set, frozenset):
        moved = move(kind([torch.ones(1)]), META)
        assert type(moved) is kind
        assert [places(tensor) for tensor in moved] == ["meta"]


def test_chained_mappings_move_what_is_hidden_too() -> None:
    chain = collections.ChainMap({"x": torch.ones(1)}, {"x": torch.ones(2), "y": torch.ones(3)})
    moved = move(chain, META)
    assert type(moved) is collections.ChainMap
    assert [sorted(one) for one in moved.maps] == [["x"], ["x", "y"]]
    assert {places(tensor) for one in moved.maps for tensor in one.values()} == {"meta"}
    assert places(chain["x"]) == places(chain["y"]) == "cpu"


class Features(collections.UserDict):  # type: ignore[type-arg]
    """A mapping that moves itself, as tokenizers and processors of other libraries return."""

    def to(self, device: torch.device) -> "Features":
        return Features({key: value.to(device) for key, value in self.items()})


def test_a_mapping_that_moves_itself_is_converted() -> None:
    features = Features(x=torch.ones(1), ids=torch.ones(1, dtype=torch.int64))
    placed = Mover(torch.device("cpu"), torch.float64)(features)
    assert type(placed) is Features
    assert [value.dtype for value in placed.values()] == [torch.float64, torch.int64]
    assert features["x"].dtype is torch.float32
    assert places(move(features, META)["x"]) == "meta"


def test_packed_sequences() -> None:
    packed = pack_sequence([torch.ones(3), torch.ones(2)], enforce_sorted=False)
    moved = move(packed, META)
    assert type(moved) is PackedSequence
    assert places(moved.data) == places(moved.sorted_indices) == "meta"
    assert places(moved.batch_sizes) == "cpu"  # as torch wants it
    double = Mover(torch.device("cpu"), torch.float64)
    assert double(packed).data.dtype is torch.float64
    whole = pack_sequence([torch.ones(2, dtype=torch.int64)])
    assert double(whole).data.dtype is torch.int64


def test_things_that_move_themselves() -> None:
    assert places(move(Own(), META)) == "meta"
    forgetful = Forgetful()
    assert move(forgetful, META) is forgetful
    assert places(forgetful) == "meta"


def test_what_cannot_move_is_returned() -> None:
    thing = object()
    assert move([thing, 1.5, b"x", {1, 2}], META) == [thing, 1.5, b"x", {1, 2}]
    numpy = pytest.importorskip("numpy")
    array = numpy.ones(3)
    assert move(array, META) is array


def test_a_batch_that_is_there_keeps_its_tensors() -> None:
    tensor = torch.ones(1)
    assert move([tensor], "cpu")[0] is tensor


def test_placing_on_a_cpu_is_the_identity() -> None:
    batch = {"x": torch.ones(1)}
    assert placer(torch.device("cpu"))(batch) is batch


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_only_floats_are_converted(dtype: torch.dtype) -> None:
    batch = (
        torch.ones(1),
        torch.ones(1, dtype=torch.int64),
        torch.ones(1, dtype=torch.bool),
        torch.ones(1, dtype=torch.complex64),
        Sample(torch.ones(1, dtype=torch.float16)),
    )
    placed = placer(torch.device("cpu"), dtype)(batch)
    expected = [dtype, torch.int64, torch.bool, torch.complex64]
    assert [part.dtype for part in placed[:4]] == expected
    assert placed[4].x.dtype is dtype


def test_only_copies_to_a_gpu_do_not_wait() -> None:
    waits = {kind: not Mover(torch.device(kind))._non_blocking for kind in ("cpu", "mps", "cuda")}
    assert waits == {"cpu": True, "mps": True, "cuda": False}


leaves = st.one_of(
    st.integers(),
    st.text(max_size=3),
    st.none(),
    st.sampled_from([torch.float32, torch.int64]).map(lambda dtype: torch.ones(2, dtype=dtype)),
)
nested = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.lists(parts, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), parts, max_size=3),
        st.tuples(parts, parts).map(lambda pair: Pair(*pair)),
        st.dictionaries(st.integers(), parts, max_size=2).map(collections.OrderedDict),
    ),
    max_leaves=8,
)


def shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ("tensor", value.dtype, tuple(value.shape))
    if isinstance(value, dict):
        return (type(value), [(key, shape(part)) for key, part in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), [shape(part) for part in value])
    return value


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return (
        [found for part in parts for found in tensors(part)]
        if isinstance(value, dict | list | tuple)
        else []
    )


@given(nested)
def test_any_nesting_keeps_its_shape_and_moves_every_tensor(batch: Any) -> None:
    moved = move(batch, META)
    assert shape(moved) == shape(batch)
    assert all(places(tensor) == "meta" for tensor in tensors(moved))
    assert all(places(tensor) == "cpu" for tensor in tensors(batch))
