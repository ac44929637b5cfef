"""Numpy's arrays and scalars as data, without needing numpy: what was never imported is not met."""

import importlib
import re
import sys
from typing import Any

_SAFE = re.compile(r"[<>|=](?:[biufcSUMm][0-9]{1,9}(?:\[[0-9a-zA-Z]{1,8}\])?)")
"""Numbers, strings and times. No Python objects, and no records."""


def is_array(value: Any) -> bool:
    """Return whether a value is a numpy array."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_scalar(value: Any) -> bool:
    """Return whether a value is a number, string or time of a type of numpy's."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def type_name(value: Any) -> str | None:
    """Return the name of the type of an array's items, None where they are not plain data."""
    name = str(value.dtype.str)
    return name if _SAFE.fullmatch(name) and value.dtype.names is None else None


def array_bytes(value: Any) -> bytes:
    """Return an array's items, row after row."""
    return bytes(value.tobytes())


def array_of(data: memoryview, name: str, shape: list[int]) -> Any:
    """Return an array that owns its memory.

    Raises:
        ValueError: the type or the shape does not fit.
        LookupError: numpy is not installed.
    """
    if not _SAFE.fullmatch(name):
        raise ValueError(f"{name!r} is no type of plain numbers")
    try:
        numpy = importlib.import_module("numpy")
    except ImportError as error:
        raise LookupError(
            "This checkpoint holds numpy arrays. Received a Python without numpy. Install numpy."
        ) from error
    return numpy.frombuffer(bytes(data), dtype=numpy.dtype(name)).reshape(shape).copy()
