"""What goes in comes out, type for type; what is no data does not go in."""

import collections
import contextlib
import datetime
import enum
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_checkpoint import UnsavableStateError, load, save
from lt_checkpoint.decoding import Decoder
from lt_checkpoint.draft import plain_encoder
from lt_checkpoint.encoding import TAG
from lt_checkpoint.errors import DamagedCheckpointError

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.dates()
    | st.timedeltas()
    | st.sampled_from([Path("a/b"), torch.float32, torch.device("cuda", 1), torch.Size([2, 3])])
)
KEYS = st.text() | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), st.text())
HASHABLE = st.integers() | st.text() | st.tuples(st.integers(), st.none())


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
        | st.frozensets(HASHABLE, max_size=4)
    )


class AskedForTensorError(Exception):
    pass


class NoTensors:
    def get(self, reference: Any) -> torch.Tensor:
        raise AskedForTensorError


@given(st.recursive(PLAIN, nested, max_leaves=20))
@settings(max_examples=300, deadline=None)
def test_what_goes_in_comes_out(value: Any) -> None:
    text = json.dumps(plain_encoder().encode(value), allow_nan=False)
    found = Decoder(NoTensors()).decode(json.loads(text))
    assert repr(found) == repr(value) if not _has_set(value) else found == value or "nan" in text


def _has_set(value: Any) -> bool:
    if isinstance(value, set | frozenset):
        return True
    if isinstance(value, dict):
        return any(map(_has_set, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_set, value))


@given(st.recursive(st.none() | st.integers() | st.text(), nested, max_leaves=20))
@settings(max_examples=200, deadline=None)
def test_decoding_any_json_gives_a_value_or_says_that_it_is_damaged(value: Any) -> None:
    hostile = _with_tags(value)
    with contextlib.suppress(DamagedCheckpointError, AskedForTensorError):
        Decoder(NoTensors()).decode(hostile)


def _with_tags(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            TAG: str(next(iter(value), "tuple")),
            "items": [[1, 2]],
            **{str(k): _with_tags(v) for k, v in value.items()},
        }
    if isinstance(value, list | tuple):
        return [_with_tags(one) for one in value]
    return value if isinstance(value, int | str | None) else list(value)


TENSORS = {
    "none": torch.tensor(3.5),
    "empty": torch.empty(0, 3),
    "empty_without_items": torch.empty(3, 0, 2, dtype=torch.int64),
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "strided": torch.arange(10)[::3],
    "expanded": torch.ones(1, 3).expand(4, 3),
    "bool": torch.tensor([True, False]),
    "conjugate": torch.tensor([1 + 2j, 3j]).conj(),
    "negative": torch.tensor([1 + 2j, 3j]).conj().imag,
    "fnuz": torch.ones(3).to(torch.float8_e4m3fnuz),
    "scalar_fnuz": torch.tensor(2.0).to(torch.float8_e5m2fnuz),
    "e8m0": torch.ones(4).to(torch.float8_e8m0fnu),
    **{
        str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
        for dtype in [
            *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
            *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
            *(torch.uint16, torch.uint32, torch.uint64, torch.complex64, torch.complex128),
            *(torch.float8_e4m3fn, torch.float8_e5m2),
        ]
    },
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_every_kind(name: str, tmp_path: Path, alike: Any) -> None:
    tensor = TENSORS[name]
    save({"state_dict": {"a": tensor}, "b": [tensor.clone()]}, tmp_path / "a.ckpt")
    found = load(tmp_path / "a.ckpt")
    expected = tensor.resolve_conj().resolve_neg()
    assert alike(found["state_dict"]["a"], expected)
    assert alike(found["b"][0], expected)
    assert found["b"][0].is_contiguous()


def test_a_parameter_comes_back_as_its_numbers(tmp_path: Path) -> None:
    save({"p": torch.nn.Parameter(torch.ones(2))}, tmp_path / "a.ckpt")
    found = load(tmp_path / "a.ckpt")["p"]
    assert type(found) is torch.Tensor
    assert not found.requires_grad


def test_tied_weights_are_written_once_and_come_back_tied(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(100, 8)
            self.head = torch.nn.Linear(8, 100, bias=False)
            self.head.weight = self.embed.weight

    module = Tied()
    state = {"state_dict": module.state_dict(), "again": module.embed.weight}
    save(state, tmp_path / "a.ckpt")
    found = load(tmp_path / "a.ckpt")
    weights = found["state_dict"]
    assert weights["embed.weight"] is weights["head.weight"]
    assert found["again"] is weights["head.weight"]
    assert (tmp_path / "a.ckpt" / "model.safetensors").stat().st_size < 2 * 100 * 8 * 4
    other = Tied()
    other.load_state_dict(weights)
    assert torch.equal(other.head.weight, module.head.weight)


def test_views_that_overlap_come_back_with_their_numbers(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    save({"state_dict": {"whole": whole, "part": whole[2:5]}}, tmp_path / "a.ckpt")
    found = load(tmp_path / "a.ckpt")["state_dict"]
    assert torch.equal(found["whole"], whole)
    assert torch.equal(found["part"], whole[2:5])


def test_numpy_arrays_and_scalars(tmp_path: Path, alike: Any) -> None:
    state = {
        "array": np.arange(6, dtype=">i4").reshape(2, 3)[:, ::2],
        "empty": np.empty((0, 2)),
        "none": np.array(3.5),
        "float": np.float64(1.5),
        "bool": np.bool_(True),
        "text": np.array(["ab", "c"]),
        "str": np.str_("abc"),
        "time": np.datetime64("2026-01-02T03:04:05", "ms"),
        "complex": np.array([1j]),
    }
    save(state, tmp_path / "a.ckpt")
    assert alike(load(tmp_path / "a.ckpt"), state)


class Colour(enum.Enum):
    RED = 1


class Pair(collections.namedtuple("Pair", "a b")):
    __slots__ = ()


LOOP: list[Any] = []
LOOP.append(LOOP)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (print, ""),
        (lambda: 1, ""),
        (object(), ""),
        (torch.nn.Linear, ""),
        (torch.nn.Linear(1, 1), ""),
        (Colour.RED, ""),
        (Pair(1, 2), ""),
        ({"b": {3: [0, print]}}, "['b'][3][1]"),
        ({Colour.RED: 1}, "[<Colour.RED: 1>]"),
        ({object: 1}, ""),
        (np.array([object()]), ""),
        (np.zeros(2, dtype=[("a", "i4")]), ""),
        (torch.ones(2).to_sparse(), ""),
        (torch.ones(2, device="meta"), ""),
        (LOOP, "[0]"),
        (deep(120), "[0]"),
        (iter([1]), ""),
    ],
)
def test_what_is_no_data_is_refused_with_its_place(value: Any, where: str, tmp_path: Path) -> None:
    state = {"callbacks": {"Mine": {"x": value}}}
    with pytest.raises(UnsavableStateError) as caught:
        save(state, tmp_path / "a.ckpt")
    assert f"state['callbacks']['Mine']['x']{where}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unsavable_hyper_parameter_says_how_to_leave_it_out(tmp_path: Path) -> None:
    state = {"hyper_parameters": {"lr": 0.1, "act": torch.nn.ReLU()}}
    with pytest.raises(UnsavableStateError, match=r"save_hyperparameters\(ignore=\['act'\]\)"):
        save(state, tmp_path / "a.ckpt")


def test_subclasses_of_plain_types_come_back_as_those(tmp_path: Path) -> None:
    class Score(float):
        pass

    state = {
        "score": Score(1.5),
        "table": collections.OrderedDict(b=1, a=2),
        "version": torch.__version__,
    }
    save(state, tmp_path / "a.ckpt")
    found = load(tmp_path / "a.ckpt")
    assert {name: type(value) for name, value in found.items()} == {
        "score": float,
        "table": dict,
        "version": str,
    }
    assert list(found["table"]) == ["b", "a"]


def test_numbers_that_json_has_no_word_for(tmp_path: Path) -> None:
    state = {"nan": math.nan, "inf": [math.inf, -math.inf], "zero": -0.0, "big": 3**400}
    save(state, tmp_path / "a.ckpt")
    found = load(tmp_path / "a.ckpt")
    assert math.isnan(found["nan"])
    assert found["inf"] == state["inf"]
    assert math.copysign(1, found["zero"]) == -1
    assert found["big"] == 3**400
