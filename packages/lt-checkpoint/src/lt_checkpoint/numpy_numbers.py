"""Numbers of numpy in a pickle, read as Python's without numpy.

numpy's own classes are not safe to build from a file that nobody trusts: a type can be given fields
and flags that make its numbers point anywhere. What stands in for them here knows the plain numbers
and refuses the rest.
"""

import pickle
import struct
from collections.abc import Mapping
from typing import Any, final

_FORMS = {
    **{"b1": "?", "f2": "e", "f4": "f", "f8": "d"},
    **{"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"},
}
"""How the bytes of a type are read; a bool, and floats, integers and naturals by their bytes."""

_ORDERS = {"<": "<", ">": ">", "|": "<", "=": "="}


@final
class NumberType:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: Any, *_: Any) -> None:
        """Take the type of a plain number; the flags that follow make no difference to one."""
        form = _FORMS.get(code) if isinstance(code, str) else None
        if form is None:
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype({code!r})")
        self.form, self.order = form, "="

    def __setstate__(self, state: Any) -> None:
        """Take the order of bytes from a state; a plain type has nothing else in it."""
        order, *more = state[1:5]
        if order not in _ORDERS or any(part is not None for part in more):
            raise pickle.UnpicklingError("GLOBAL numpy.dtype")
        self.order = _ORDERS[order]


def number(kind: Any, content: Any) -> float:
    """Stand in for the function that makes numpy's numbers."""
    if not isinstance(kind, NumberType) or not isinstance(content, bytes):
        raise pickle.UnpicklingError("GLOBAL numpy.generic")
    value: float
    (value,) = struct.unpack(kind.order + kind.form, content)
    return value


def type_within(value: Any) -> bool:
    """Return whether a type is left in what was read, where it is not that of a number."""
    left, seen = [value], set[int]()
    while left:
        one = left.pop()
        if isinstance(one, NumberType):
            return True
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            left += one
    return False


STAND_INS: list[Any] = [
    (NumberType, "numpy.dtype"),
    (number, "numpy._core.multiarray.scalar"),
    (number, "numpy.core.multiarray.scalar"),  # before numpy 2
]
"""For torch's weights-only loader: what it calls, and the name in the file."""
