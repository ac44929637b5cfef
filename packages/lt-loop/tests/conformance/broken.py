"""Broken implementations, each with the promises it breaks."""

from collections.abc import Callable
from typing import Any, NamedTuple

from lt_loop.conformance import failures


class Broken(NamedTuple):
    """One implementation, and the tests that it must fail: no other, and all of them."""

    make: Callable[..., Any]
    fails: frozenset[str]


class Shelf:
    """The broken implementations of one port."""

    def __init__(self) -> None:
        self.all: list[Broken] = []

    def breaks(self, *names: str) -> Callable[[Any], Any]:
        """Put a class on the shelf, with the names of the tests that fail, without ``test_``."""

        def put(made: Any) -> Any:
            self.all.append(Broken(made, frozenset(f"test_{name}" for name in names)))
            return made

        return put

    @property
    def broken_promises(self) -> set[str]:
        return {name for broken in self.all for name in broken.fails}


def failing(kit: type, make: Callable[..., Any]) -> dict[str, str]:
    """Run a kit on an implementation; return what failed, and how."""
    filled_in = type("Filled", (kit,), {"make": staticmethod(make)})
    return {name: repr(error) for name, error in failures(filled_in).items()}
