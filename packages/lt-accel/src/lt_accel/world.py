"""Worlds: which other processes there are. This version knows one, alone."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, final

T = TypeVar("T")


@final
class SingleProcess:
    """The world of a process without others: rank 0 of 1."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    def launch(self, main: Callable[[], T]) -> T:
        """Call ``main`` here and return its result."""
        return main()

    def reduce(
        self, values: Sequence[float], op: Literal["mean", "sum", "min", "max"]
    ) -> list[float]:
        """Return the values: one rank has nothing to combine."""
        return list(values)

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return the object."""
        return obj

    def gather(self, obj: T) -> list[T]:
        """Return the object alone."""
        return [obj]

    def barrier(self) -> None:
        """Do nothing: everybody is here."""

    def agree(self, code: int) -> int:
        """Return the code: one rank agrees with itself."""
        return code
