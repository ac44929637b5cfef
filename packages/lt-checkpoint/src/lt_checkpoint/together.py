"""Doing something with all ranks: it succeeds on every rank or fails on every rank."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, final

from lt_checkpoint.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    SaveError,
    StoreUnavailableError,
    UnsavableStateError,
)

T = TypeVar("T")

KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        UnsavableStateError,
        DamagedCheckpointError,
        CheckpointNotFoundError,
        StoreUnavailableError,
    )
}
"""What keeps its type when it is told to other ranks."""


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


class Channel(Ranks, Protocol):
    """The ranks as a thread beside the training talks to them."""

    def close(self) -> None:
        """Talk no more."""


@final
class Alone:
    """One process."""

    rank: int = 0
    world_size: int = 1

    def gather(self, obj: Any) -> Sequence[Any]:
        """Return the object alone."""
        return [obj]

    def close(self) -> None:
        """Do nothing: there was nobody to talk to."""


def apiece(world: Ranks, work: Callable[[], T]) -> T:
    """Let every rank do its part; return what this rank's came to, which stays with it.

    Raises:
        SaveError: another rank failed; the message names it. Where this rank failed, its own
            exception is raised.
        UnsavableStateError: so it did, by that.
        DamagedCheckpointError: or by that.
        CheckpointNotFoundError: or by that.
    """
    if world.world_size == 1:
        return work()
    try:
        result = work()
    except Exception as error:  # the others wait for the answer
        world.gather(f"{type(error).__name__}: {error}")
        raise
    for rank, failed in enumerate(world.gather(None)):
        if failed is not None:
            kind = KINDS.get(failed.partition(":")[0], SaveError)
            raise kind(f"Ranks save and load together. Rank {rank} failed: {failed}")
    return result


def together(world: Ranks, work: Callable[[], T]) -> Sequence[T]:
    """Let every rank do its part; return the results of all ranks, in their order, on each.

    Raises:
        SaveError: another rank failed, as in :func:`apiece`.
        UnsavableStateError: so did another rank's state.
    """
    return world.gather(apiece(world, work))


def on_first(world: Ranks, work: Callable[[], T]) -> T:
    """Let rank 0 do something; return its result on every rank.

    Raises:
        SaveError: rank 0 failed.
    """
    results: Sequence[Any] = together(world, work if world.rank == 0 else lambda: None)
    return results[0]  # type: ignore[no-any-return]


def beside(world: Ranks) -> Channel | None:
    """Return the ranks as another thread can talk to them; None where the world offers no way.

    Every rank calls it at the same time.
    """
    if world.world_size == 1:
        return Alone()
    opened: Callable[[], Channel] | None = getattr(world, "beside", None)
    return None if opened is None else opened()
