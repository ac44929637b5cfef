"""A step that does not count leaves nothing behind."""

import copy
import types
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lt_accel.undoing import undone


class Meter:
    """A metric object of nobody's library."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sum, self.parts = torch.zeros(2), [1.0]

    def update(self, value: float) -> None:
        self.sum += value
        self.parts.append(value)


@dataclass
class Record:
    count: int = 0
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fixed:
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    seen: list[int] = field(default_factory=list)
    count: int = 0


class Counts:
    """A metric object without a ``__dict__``."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._count = 0

    def update(self) -> None:
        self._count += 1

    def compute(self) -> int:
        return self._count


def values() -> dict[str, Any]:
    return {
        "tensor": torch.arange(3.0),
        "list": [1, torch.zeros(1), [2]],
        "dict": {"a": 1, "b": {"c": [3]}},
        "ordered": OrderedDict(a=1, b=2),
        "default": defaultdict(list, a=[1]),
        "counter": Counter("ab"),
        "deque": deque([1, 2], maxlen=2),
        "set": {1, 2},
        "tuple": ([1], torch.ones(1)),
        "meter": Meter(),
        "record": Record(),
        "number": 1,
        "none": None,
    }


def spoil(value: Any) -> None:  # noqa: C901 - each kind in its own way
    """Change an object in place, and everything in it."""
    if isinstance(value, torch.Tensor):
        value += 1
    elif isinstance(value, list | deque):
        for part in value:
            spoil(part)
        value.append("new")
    elif isinstance(value, dict):
        for part in value.values():
            spoil(part)
        if "a" in value:
            value.pop("a")
        value["new"] = 5
    elif isinstance(value, set):
        value.add("new")
    elif isinstance(value, tuple):
        for part in value:
            spoil(part)
    elif isinstance(value, Meter):
        value.update(3.0)
        value.parts.clear()
        value.sum = torch.ones(9)
    elif isinstance(value, Record):
        value.count += 1
        value.names.append("new")


def shown(value: Any) -> Any:
    """Everything there is about an object, to be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return type(value), [(key, shown(part)) for key, part in value.items()]
    if isinstance(value, list | tuple | deque):
        return type(value), [shown(part) for part in value]
    if isinstance(value, Meter | Record):
        return shown(vars(value))
    return value


def module() -> nn.Module:
    made = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    for name, value in values().items():
        setattr(made[0], name, value)  # not of the outermost one
    return made


def test_what_a_step_changes_in_place_is_as_before() -> None:
    program, before = module(), values()
    objects = dict(vars(program[0]))
    with undone([program]):
        for name in before:
            spoil(getattr(program[0], name))
        assert shown({n: getattr(program[0], n) for n in before}) != shown(before)

    assert shown({name: getattr(program[0], name) for name in before}) == shown(before)
    for name in before:
        assert getattr(program[0], name) is objects[name], name


@pytest.mark.parametrize("name", values())
def test_another_object_in_the_place_of_one_is_gone(name: str) -> None:
    program = module()
    before = getattr(program[0], name)
    with undone([program]):
        setattr(program[0], name, "another")
    assert getattr(program[0], name) is before


def test_what_was_not_there_is_not_there_and_what_was_is_again() -> None:
    program = module()
    with undone([program]):
        program.new = [1]  # type: ignore[assignment]
        del program[0].number
        program[1].register_buffer("more", torch.zeros(1))
    assert not hasattr(program, "new")
    assert program[0].number == 1
    assert not hasattr(program[1], "more")


def test_buffers_are_put_back_and_parameters_are_not() -> None:
    program = module()
    before = copy.deepcopy(program.state_dict())
    with undone([program]):
        program(torch.randn(4, 2))  # in training, batch norm counts
        assert program[1].num_batches_tracked == 1
        with torch.no_grad():
            program[0].weight += 1
    after = program.state_dict()
    weight = before.pop("0.weight")
    assert torch.equal(after.pop("0.weight"), weight + 1)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_metric_objects_are_parts_of_their_own() -> None:
    meter, list_of_modules = Meter(), [nn.BatchNorm1d(2)]
    with undone([meter, list_of_modules]):
        meter.update(2.0)
        list_of_modules[0](torch.randn(4, 2))
    assert (meter.sum.tolist(), meter.parts) == ([0.0, 0.0], [1.0])
    assert list_of_modules[0].num_batches_tracked == 0


def test_tensors_of_every_kind_are_put_back() -> None:
    program = nn.Module()
    with torch.inference_mode():
        program.inference = torch.zeros(2)
    program.expanded = torch.zeros(1).expand(3)
    program.meta = torch.zeros(2, device="meta")
    program.grows = torch.zeros(2, requires_grad=True) * 1
    program.sparse = torch.eye(2).to_sparse()
    with undone([program]):
        with torch.inference_mode():
            program.inference += 1
            program.grows += 1
        program.sparse *= 2
    assert program.inference.tolist() == program.grows.tolist() == [0.0, 0.0]
    assert program.sparse.to_dense().tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_what_contains_itself_ends() -> None:
    program = nn.Module()
    program.loop = loop = [1]
    loop.append(loop)  # type: ignore[arg-type]
    with undone([program]):
        loop.append(2)
    assert len(loop) == 2


def test_what_is_no_record_is_left_alone() -> None:
    program = nn.Module()
    program._trainer = Meter()  # the engine's own is nothing that a step adds up
    program.space = types.SimpleNamespace(items=[])
    program.kind = Meter
    with undone([program]):
        program._trainer.update(1.0)
        program.space.items.append(1)
    assert program._trainer.parts == [1.0, 1.0]
    assert program.space.items == [1]


def test_records_of_every_kind_are_put_back() -> None:
    program = nn.Module()
    program.fixed, program.slotted, program.counts = Fixed(), Slotted(), Counts()
    with undone([program]):
        program.fixed.names.append("new")
        program.slotted.seen.append(1)
        program.slotted.count = 1
        program.counts.update()
    assert program.fixed.names == program.slotted.seen == []
    assert (program.slotted.count, program.counts.compute()) == (0, 0)


def test_a_tensor_that_grows_in_place_is_as_before() -> None:
    program = nn.Module()
    program.register_buffer("seen", torch.zeros(2))
    program.kept, buffer = torch.zeros(2), program.seen
    with undone([program]):
        program.seen.data = torch.ones(3)
        program.kept.resize_(4)
    assert program.seen is buffer
    assert program.seen.tolist() == program.kept.tolist() == [0.0, 0.0]


def test_generators_draw_again_what_they_drew() -> None:
    np = pytest.importorskip("numpy")
    program = nn.Module()
    program.torch, program.numpy = torch.Generator(), np.random.default_rng(0)
    drawn = []
    for _ in range(2):
        with undone([program]):
            drawn.append([float(torch.rand(1, generator=program.torch)), program.numpy.random()])
    assert drawn[0] == drawn[1]


def test_a_file_mapped_into_memory_is_not_read(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    np.save(tmp_path / "data.npy", np.zeros(3))

    class Mapped(np.memmap):  # type: ignore[misc, name-defined]
        def copy(self, *_: Any) -> Any:
            raise AssertionError("all of the file was read")

    program = nn.Module()
    program.data = np.load(tmp_path / "data.npy", mmap_mode="r").view(Mapped)
    with undone([program]):
        assert program.data[0] == 0.0


def test_arrays_are_put_back() -> None:
    np = pytest.importorskip("numpy")
    program = nn.Module()
    program.array, program.view = np.zeros(2), np.broadcast_to(np.zeros(1), 3)
    with undone([program]):
        program.array += 1
    assert program.array.tolist() == [0.0, 0.0]


def test_a_failure_is_the_steps() -> None:
    with pytest.raises(KeyError, match="mine"), undone([module()]):
        raise KeyError("mine")
