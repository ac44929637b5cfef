"""Encoding: from a state to JSON, with references to the tensors in it.

JSON types stand for themselves. A small closed set of other values is written as an object with
the key ``"$"``, which says what it is. Anything else is refused, and its place is named.
"""

import base64
import datetime
import math
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, Protocol, final

import torch

from lt_checkpoint import numpy_values
from lt_checkpoint.errors import UnsavableStateError
from lt_checkpoint.key_paths import KeyPath, shown
from lt_checkpoint.raw_bytes import tensor_of
from lt_checkpoint.tensor_types import plain_name

Json = Any

TAG = "$"
DEEPEST = 100
"""Levels of containers. JSON readers fail some hundred levels further down."""

EXACT_INTEGERS = 2**63
"""From here on integers are written as text: other readers of JSON would round them."""


class TensorSink(Protocol):
    """Where the tensors of a state go."""

    def put(self, tensor: torch.Tensor, path: KeyPath) -> Json:
        """Take a tensor; return the reference to write in its place."""


@final
class Encoder:
    """Turns a state into JSON.

    Args:
        sink: where tensors go.
        aside: the key paths of values that stand elsewhere, with what to write in their place.
    """

    def __init__(self, sink: TensorSink, aside: Mapping[KeyPath, Json] | None = None) -> None:
        self._sink = sink
        self._aside = aside or {}
        self._within: list[int] = []

    def encode(self, value: Any, path: KeyPath = ()) -> Json:
        """Return a value as JSON.

        Raises:
            UnsavableStateError: it is no data; the message names its place.
        """
        if path in self._aside:
            return self._aside[path]
        if value is None or value is True or value is False:
            return value
        if isinstance(value, Enum):
            raise _refused(value, path, "Save its .value, or its .name.")
        if isinstance(value, torch.Tensor):
            return self._sink.put(value, path)
        if numpy_values.is_array(value) or numpy_values.is_scalar(value):
            return self._numpy(value, path)  # before float and str, of which some are subclasses
        for kind, encode in _PLAIN.items():
            if isinstance(value, kind):
                return encode(value)
        return self._container(value, path)

    def _container(self, value: Any, path: KeyPath) -> Json:
        if len(path) >= DEEPEST or id(value) in self._within:
            raise UnsavableStateError(
                f"A state is nested at most {DEEPEST} levels deep and holds no container within "
                f"itself. Received one at {shown(path[:6])}. Save it without."
            )
        self._within.append(id(value))
        try:
            if isinstance(value, torch.Size):
                return {TAG: "size", "items": [int(item) for item in value]}
            if isinstance(value, Mapping):
                return self._mapping(value, path)
            if isinstance(value, list):
                return [self.encode(item, (*path, index)) for index, item in enumerate(value)]
            kind = _SEQUENCES.get(type(value))
            if kind is not None:
                items = [self.encode(item, (*path, index)) for index, item in enumerate(value)]
                return {TAG: kind, "items": items}
        finally:
            self._within.pop()
        remedy = "Save what it holds as numbers, strings, lists, dicts or tensors, or leave it out"
        if path[:1] == ("hyper_parameters",):
            remedy += f": save_hyperparameters(ignore=[{path[1] if path[1:] else ''!r}])"
        raise _refused(value, path, remedy + ".")

    def _mapping(self, value: Mapping[Any, Any], path: KeyPath) -> Json:
        for key in value:
            if isinstance(key, Enum) or not isinstance(key, str | int | float | tuple | None):
                raise _refused(key, (*path, key), "It is a key; use a string, or a number.")
        encoded = [(key, self.encode(item, (*path, key))) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith(TAG) for key, _ in encoded):
            return {str.__str__(key): item for key, item in encoded}
        keys = [self.encode(key, (*path, key)) for key, _ in encoded]
        return {
            TAG: "dict",
            "items": [[k, item] for k, (_, item) in zip(keys, encoded, strict=True)],
        }

    def _numpy(self, value: Any, path: KeyPath) -> Json:
        name = numpy_values.type_name(value)
        if name is None:
            raise _refused(value, path, f"Its items are {value.dtype}: save plain numbers.")
        reference = self._sink.put(tensor_of(numpy_values.array_bytes(value)), path)
        kind = "array" if numpy_values.is_array(value) else "scalar"
        return {TAG: kind, "type": name, "shape": list(value.shape), "bytes": reference}


_SEQUENCES: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
"""Exactly these: a named tuple would come back as a tuple without names."""


def _integer(value: int) -> Json:
    return int(value) if abs(value) < EXACT_INTEGERS else {TAG: "int", "hex": hex(value)}


def _float(value: float) -> Json:
    number = float(value)
    return number if math.isfinite(number) else {TAG: "float", "is": repr(number)}


def _datetime(value: datetime.datetime) -> Json:
    offset = value.utcoffset()  # of a zone by name, its rules are not kept
    plain = value if offset is None else value.replace(tzinfo=datetime.timezone(offset))
    return {TAG: "datetime", "iso": plain.isoformat(), "fold": value.fold}


def _timedelta(value: datetime.timedelta) -> Json:
    return {TAG: "timedelta", "parts": [value.days, value.seconds, value.microseconds]}


def _device(value: torch.device) -> Json:
    return {TAG: "device", "is": str(value)}


_PLAIN: dict[type, Callable[[Any], Json]] = {
    int: _integer,
    float: _float,
    str: str.__str__,
    bytes: lambda value: {TAG: "bytes", "base64": base64.b64encode(value).decode("ascii")},
    complex: lambda value: {TAG: "complex", "parts": [_float(value.real), _float(value.imag)]},
    PurePath: lambda value: {TAG: "path", "is": str(value)},
    datetime.datetime: _datetime,
    datetime.date: lambda value: {TAG: "date", "iso": value.isoformat()},
    datetime.timedelta: _timedelta,
    torch.dtype: lambda value: {TAG: "dtype", "is": plain_name(value)},
    torch.device: _device,
}


def _refused(value: Any, path: KeyPath, remedy: str) -> UnsavableStateError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    article = "an" if kind[0] in "aeiou" else "a"
    return UnsavableStateError(
        "A checkpoint holds data: numbers, strings, containers, tensors. Received "
        f"{article} {kind} at "
        f"{shown(path)}. {remedy}"
    )
