"""Logs: the ``log`` methods of a program, with others in their place while a step runs."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

Log = Callable[..., Any]
Replaced = list[tuple[dict[str, Any], Log]]
"""What to put in the place of a ``log``, and the attributes of the object that has it."""


def replacing(program: Any, by: Callable[[Log], Log]) -> Replaced:
    """Return what :func:`replaced` takes: something else for each ``log`` of a program.

    Args:
        program: its own method, and those of its modules that log by the same one. Without those
            that have an attribute of that name in its place.
        by: takes a bound method and returns what is called instead of it.
    """
    method = getattr(type(program), "log", None)
    parts: Iterable[Any] = program.modules() if isinstance(program, nn.Module) else (program,)
    return [
        (vars(part), by(part.log))
        for part in parts
        if callable(method)
        and getattr(type(part), "log", None) is method
        and "log" not in getattr(part, "__dict__", {"log": None})
    ]


@contextlib.contextmanager
def replaced(logs: Iterable[tuple[dict[str, Any], Log]]) -> Iterator[None]:
    """Put others in the place of ``log`` for the time of a block.

    Whoever copies or pickles the program outside of it finds it as it is.
    """
    for own, log in logs:
        own["log"] = log
    try:
        yield
    finally:
        for own, _ in logs:
            own.pop("log", None)
