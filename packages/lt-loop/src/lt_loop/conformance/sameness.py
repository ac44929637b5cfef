"""Sameness of nested values, whatever kind of numbers they hold."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Return whether two nested values are alike, to the last bit and the type of each part.

    Containers are looked into. Arrays (what has a ``shape``) are alike in shape, dtype and every
    element; anything else is compared with ``==``, but that nan is nan, and -0.0 not 0.0.

    >>> same({"a": [1, (2.0, float("nan"))]}, {"a": [1, (2.0, float("nan"))]})
    True
    >>> same([1], [1.0]), same([1], (1,)), same({1: 2}, {"1": 2}), same(0.0, -0.0)
    (False, False, False, False)
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = {(type(key), key) for key in one}
        alike = keys == {(type(key), key) for key in other}
        return alike and all(same(value, other[key]) for key, value in one.items())
    if hasattr(one, "shape") and hasattr(other, "shape"):
        if one.shape != other.shape or getattr(one, "dtype", 0) != getattr(other, "dtype", 0):
            return False
        equal: Any = one == other
        return bool(equal.all() if hasattr(equal, "all") else equal)
    if isinstance(one, list | tuple):
        alike = type(one) is type(other) and len(one) == len(other)
        return alike and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.copysign(1, one) == math.copysign(1, other) and (
            one == other or (math.isnan(one) and math.isnan(other))
        )
    return type(one) is type(other) and bool(one == other)


def close(one: Sequence[float], other: Sequence[float], *, tolerance: float) -> bool:
    """Return whether two lists of numbers are alike, up to a share of the greatest among them.

    >>> close([1.0, 100.0], [1.001, 100.0], tolerance=1e-4)
    True
    >>> close([1.0, 100.0], [1.1, 100.0], tolerance=1e-4), close([1.0], [], tolerance=1.0)
    (False, False)
    """
    if len(one) != len(other):
        return False
    scale = max((abs(number) for number in (*one, *other)), default=0.0)
    return all(abs(a - b) <= tolerance * scale for a, b in zip(one, other, strict=True))


def numbers(values: Any) -> list[float]:
    """Return the numbers of nested lists, arrays or a single number, in one flat list.

    An array is what has ``tolist()``. What requires a gradient is detached first, what is spread
    over ranks is put together.

    >>> numbers([1, [2.5, (3, 4)]])
    [1.0, 2.5, 3.0, 4.0]
    """
    if hasattr(values, "detach"):
        values = values.detach()
    if hasattr(values, "full_tensor"):
        values = values.full_tensor()
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, list | tuple):
        return [number for value in values for number in numbers(value)]
    return [float(values)]
