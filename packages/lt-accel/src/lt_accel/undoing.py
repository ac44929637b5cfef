"""Undoing: what a step leaves behind in a program is put back.

A step that is run for the sake of other ranks alone must not count. What it may change is what can
be reached from the modules of the program:

- which object each attribute is, in ``__slots__`` too, of modules and of records (below);
- what lists, dicts, sets and deques hold, where they are such attributes, at any depth;
- the numbers of tensors and numpy arrays there, buffers included; not of arrays that are read-only,
  which may be files of any size mapped into memory;
- the states of random generators of torch and numpy there.

Records are metric objects, which have ``reset`` beside ``update`` or ``compute``, and dataclasses.
Objects of other classes are left alone: nobody knows what it would mean to turn them back. So are
parameters, which a forward under FSDP gathers and drops.
"""

import dataclasses
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import MemberDescriptorType
from typing import Any, cast

import torch
from torch import Tensor, nn

Undo = Callable[[], None]

_OF_TORCH = frozenset(nn.Module().__dict__)
"""What every module has of its own; of these, buffers alone are looked at."""

_PLAIN = frozenset({int, float, bool, str, bytes, complex, type(None)})
"""What can't change. Long lists are full of it."""

_OF_THE_ENGINE = frozenset({"trainer", "_trainer"})
"""What leads from a program to its run, which goes on."""


@contextmanager
def undone(parts: Iterable[Any]) -> Iterator[None]:
    """Put back, at the end of the block, what was changed within it about programs and metrics.

    Args:
        parts: modules, with what they consist of, and records.
    """
    memory = _Memory()
    for part in parts:
        memory.take(part)
    yield
    memory.give_back()


class _Memory:
    """How everything was."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._undo: list[Undo] = []
        self._kept: list[Any] = []  # so that no id is given to another object
        self._seen: set[int] = set()

    def take(self, value: Any) -> None:
        """Remember how an object is, and all that can be reached from it."""
        pending = [value]
        while pending:
            one = pending.pop()
            if type(one) in _PLAIN or id(one) in self._seen:
                continue
            undo, parts = _memento(one)
            if undo is not None:
                self._seen.add(id(one))
                self._kept.append(one)
                self._undo.append(undo)
                pending.extend(parts)

    def give_back(self) -> None:
        """Turn everything back."""
        for undo in self._undo:
            undo()


def _memento(value: Any) -> tuple[Undo | None, Iterable[Any]]:
    """Return what turns one object back, None where there is nothing to, and its parts."""
    if isinstance(value, Tensor):
        return _of_tensor(value), ()
    if isinstance(value, nn.Module):
        return _of_module(value)
    if isinstance(value, list | deque):
        return _of_collection(value, value.extend), list(value)
    if isinstance(value, dict):
        return _of_mapping(value), list(value.values())
    if isinstance(value, set):
        return _of_collection(value, value.update), ()
    if isinstance(value, tuple):
        return _nothing, value
    if isinstance(value, torch.Generator):
        return _of_generator(value), ()
    if _is_record(value):
        return _of_attributes(value)
    return _of_numpys(value), ()


def _nothing() -> None:
    pass


def _is_record(value: Any) -> bool:
    kind = type(value)
    if isinstance(value, type):
        return False
    if dataclasses.is_dataclass(value):
        return True
    adds_up = hasattr(kind, "update") or hasattr(kind, "compute")
    return adds_up and hasattr(kind, "reset")


def _of_module(module: nn.Module) -> tuple[Undo, list[Any]]:
    left_out = _OF_TORCH | _OF_THE_ENGINE
    own = {name: value for name, value in vars(module).items() if name not in left_out}
    buffers = vars(module)["_buffers"]
    put_back_buffers = _of_mapping(buffers)

    def put_back() -> None:
        attributes = vars(module)
        for name in [name for name in attributes if name not in left_out and name not in own]:
            del attributes[name]
        attributes.update(own)
        put_back_buffers()

    return put_back, [*own.values(), *buffers.values(), *module.children()]


def _of_attributes(value: Any) -> tuple[Undo, list[Any]]:
    own = getattr(value, "__dict__", {})
    put_back_own = _of_mapping(own)
    slots = {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}

    def put_back() -> None:
        put_back_own()
        for name, item in slots.items():
            if getattr(value, name, _MISSING) is not item:
                object.__setattr__(value, name, item)

    return put_back, [*own.values(), *slots.values()]


_MISSING = object()


def _slots(kind: type) -> Iterator[str]:
    """Yield the names of the attributes that are in no ``__dict__``."""
    for base in kind.__mro__:
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType):
                yield name


def _of_mapping(value: Any) -> Undo:
    before = dict(value)

    def put_back() -> None:
        for key in [key for key in value if key not in before]:
            del value[key]
        if list(value) == list(before):
            for key, item in before.items():
                if value[key] is not item:
                    value[key] = item
        else:  # something was taken out: the order is part of it
            value.clear()
            value.update(before)

    return put_back


def _of_collection(value: Any, fill: Callable[[list[Any]], None]) -> Undo:
    before = list(value)

    def put_back() -> None:
        value.clear()
        fill(before)

    return put_back


def _of_generator(value: torch.Generator) -> Undo:
    before = value.get_state()

    def put_back() -> None:
        value.set_state(before)

    return put_back


def _of_numpys(value: Any) -> Undo | None:
    """Return what turns an array or a generator of numpy back, which nobody has to import."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.ndarray):
        return _of_array(value) if value.flags.writeable else None
    if isinstance(value, numpy.random.Generator):
        return _of_numpy_generator(value.bit_generator)
    return None


def _of_array(value: Any) -> Undo:
    before = value.copy()

    def put_back() -> None:
        if value.flags.writeable:
            value[...] = before

    return put_back


def _of_numpy_generator(bits: Any) -> Undo:
    before = bits.state

    def put_back() -> None:
        bits.state = before

    return put_back


def _of_tensor(value: Tensor) -> Undo | None:
    """Return what puts the numbers back; None where nothing can be, or must.

    A parameter is the optimizer's to change. A tensor that has one number in several places can't
    be written to, neither by a step nor here.
    """
    overlaps = value.layout is torch.strided and any(
        step == 0 and size > 1 for step, size in zip(value.stride(), value.shape, strict=True)
    )
    if isinstance(value, nn.Parameter) or value.is_meta or overlaps:
        return None
    before = value.detach().clone()
    mode = torch.inference_mode if value.is_inference() else torch.no_grad

    def put_back() -> None:
        with mode():
            if value.shape != before.shape:  # made larger or smaller in place
                value.set_(cast(Any, before))
            value.copy_(before)

    return put_back
