"""Doing something with all ranks: it succeeds on every rank or fails on every rank."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, final

from lt_checkpoint.errors import SaveError, UnsavableStateError

T = TypeVar("T")


class Ranks(Protocol):
    """What is needed of a World."""

    @property
    def rank(self) -> int:
        """This process among all, from 0."""

    @property
    def world_size(self) -> int:
        """How many processes there are."""

    def gather(self, obj: Any) -> Sequence[Any]:
        """Return the objects of all ranks, in their order, on every rank."""


@final
class Alone:
    """One process."""

    rank: int = 0
    world_size: int = 1

    def gather(self, obj: Any) -> Sequence[Any]:
        """Return the object alone."""
        return [obj]


def together(world: Ranks, work: Callable[[], T]) -> list[T]:
    """Let every rank do its part; return the results of all ranks, in their order, on each.

    Raises:
        SaveError: another rank failed; the message names it. Where this rank failed, its own
            exception is raised.
        UnsavableStateError: so did another rank's state.
    """
    if world.world_size == 1:
        return [work()]
    result: T | None = None
    failure: Exception | None = None
    try:
        result = work()
    except Exception as error:  # the others wait for the answer
        failure = error
    said = None if failure is None else f"{type(failure).__name__}: {failure}"
    outcomes = world.gather((result, said))
    if failure is not None:
        raise failure
    for rank, (_, failed) in enumerate(outcomes):
        if failed is not None:
            kind = UnsavableStateError if failed.startswith("UnsavableStateError") else SaveError
            raise kind(f"A checkpoint is written by all ranks. Rank {rank} failed: {failed}")
    return [found for found, _ in outcomes]


def on_first(world: Ranks, work: Callable[[], T]) -> T:
    """Let rank 0 do something; return its result on every rank.

    Raises:
        SaveError: rank 0 failed.
    """
    results: list[Any] = together(world, work if world.rank == 0 else lambda: None)
    return results[0]  # type: ignore[no-any-return]
