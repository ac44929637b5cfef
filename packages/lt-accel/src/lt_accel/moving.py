"""Moving of batches: tensors inside any nesting of containers, by hand and without waiting."""

import copy
from collections import ChainMap, deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, cast, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

# A copy to the CPU that does not wait would hand out numbers that are not there yet, and on MPS
# it races with the computation (https://github.com/pytorch/pytorch/issues/83015).
BLOCKING = ("cpu", "mps")

ATOMS = frozenset({str, bytes, int, float, bool, complex, type(None)})


class Place(Protocol):
    """A function that returns a batch where the program computes."""

    def __call__(self, batch: Any) -> Any:
        """Return the batch there; containers are new, unless there is nothing to do."""


def move(batch: Any, device: torch.device | str) -> Any:
    """Return a batch on a device.

    Tensors are found in mappings, lists, tuples, named tuples, sets, deques and dataclasses, nested
    at will; anything else with a method ``to(device)`` is asked to move itself, and what is left
    (numbers, strings, arrays) is returned as it is. Containers are copied, never changed. Copies
    from pinned memory to a GPU do not wait.

    >>> move({"x": [torch.ones(2), "name"]}, "cpu")
    {'x': [tensor([1., 1.]), 'name']}
    """
    return Mover(torch.device(device))(batch)


def placer(device: torch.device, dtype: torch.dtype | None = None) -> Place:
    """Return the function that brings batches to a device, and their floats to a dtype.

    On a CPU without a dtype that is the identity: batches are made there.
    """
    if device.type == "cpu" and dtype is None:
        return _as_it_is
    return Mover(device, dtype)


def _as_it_is(batch: Any) -> Any:
    return batch


@final
class Mover:
    """Brings batches to one device and, if asked, their floating-point tensors to one dtype."""

    __slots__ = ("_device", "_dtype", "_non_blocking")

    def __init__(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        """Decide once what every batch needs."""
        self._device, self._dtype = device, dtype
        self._non_blocking = device.type not in BLOCKING

    def __call__(self, batch: Any) -> Any:
        """Return the batch there. Common kinds first: this runs for every batch."""
        if isinstance(batch, Tensor):
            return self._tensor(batch)
        kind = type(batch)
        if kind is tuple:
            return tuple([self(part) for part in batch])
        if kind is list:
            return [self(part) for part in batch]
        if kind is dict:
            return {key: self(part) for key, part in batch.items()}
        if kind in ATOMS:
            return batch
        return self._uncommon(batch)

    def _tensor(self, tensor: Tensor) -> Tensor:
        if self._dtype is not None and tensor.is_floating_point():
            return tensor.to(self._device, self._dtype, non_blocking=self._non_blocking)
        return tensor.to(self._device, non_blocking=self._non_blocking)

    def _uncommon(self, batch: Any) -> Any:
        if isinstance(batch, PackedSequence):
            return self._packed(batch)
        if isinstance(batch, type):
            return batch
        if callable(getattr(batch, "to", None)):
            moved = batch.to(self._device)
            moved = batch if moved is None else moved  # some move themselves and forget to say so
            if self._dtype is None or not isinstance(moved, MutableMapping):
                return moved
            batch = moved  # there, but of its own dtypes
        if isinstance(batch, Mapping):
            return self._mapping(batch)
        if isinstance(batch, tuple | list | deque | set | frozenset):
            return self._parts(batch)
        if is_dataclass(batch):
            return _copied(batch, lambda new: self._fields(batch, new))
        return batch

    def _mapping(self, old: Mapping[Any, Any]) -> Any:
        if isinstance(old, ChainMap):
            return type(old)(*map(self, old.maps))
        if isinstance(old, MutableMapping):
            return _copied(old, lambda new: self._values(old, new))
        return type(old)({k: self(v) for k, v in old.items()})  # type: ignore[call-arg]

    def _parts(self, old: Any) -> Any:
        if isinstance(old, list):
            return _copied(old, lambda new: new.__setitem__(slice(None), map(self, old)))
        parts, kind = [self(part) for part in old], type(old)
        if isinstance(old, deque):
            return _copied(old, lambda new: (new.clear(), new.extend(parts)))
        # A named tuple's own way goes past the __new__ of a subclass, which may ask for less.
        return getattr(kind, "_make", kind)(parts)

    def _packed(self, packed: PackedSequence) -> PackedSequence:
        # torch's annotations of this method lack the device.
        moved = cast(Any, packed).to(device=self._device, non_blocking=self._non_blocking)
        if self._dtype is not None and packed.data.is_floating_point():
            moved = moved.to(dtype=self._dtype)
        return cast(PackedSequence, moved)

    def _values(self, old: Any, new: Any) -> None:
        for key, value in old.items():
            new[key] = self(value)  # not by update(), which a Counter adds with

    def _fields(self, old: Any, new: Any) -> None:
        for field in fields(old):
            if hasattr(old, field.name):
                # Past the __setattr__ of a frozen dataclass; the copy is ours.
                object.__setattr__(new, field.name, self(getattr(old, field.name)))


def _copied(old: Any, fill: Callable[[Any], object]) -> Any:
    """Copy a container of an unknown class, which may hold more than its parts, and refill it."""
    new = copy.copy(old)
    fill(new)
    return new
