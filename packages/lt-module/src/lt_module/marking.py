"""The mark of a method that a user has not overridden."""

from collections.abc import Callable
from typing import Any, TypeVar

Fn = TypeVar("Fn", bound=Callable[..., Any])


def library_default(method: Fn) -> Fn:
    """Mark a method as this library's own: a loop that reads the mark need not call it.

    The mark is the attribute ``__lt_default__``; an override does not have it.
    """
    method.__lt_default__ = True  # type: ignore[attr-defined]
    return method
