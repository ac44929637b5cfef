"""Several ranks within one process, one thread each, to try out what has to know several."""

import threading
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, TypeVar

from lt_loop.ports import Reduction, World

T = TypeVar("T")

SECONDS = 30.0
"""How long a rank waits for the others before it gives up."""


class Meeting:
    """Where the threads lay down what they have, and pick up what all have."""

    def __init__(self, world_size: int) -> None:
        """Prepare a place for each."""
        self._places: list[Any] = [None] * world_size
        self._barrier = threading.Barrier(world_size, timeout=SECONDS)

    def exchange(self, rank: int, obj: Any) -> list[Any]:
        """Return what every rank laid down, once all have."""
        self._places[rank] = obj
        self._barrier.wait()
        everything = list(self._places)
        self._barrier.wait()  # nobody lays down the next thing before all have picked this one up
        return everything

    def break_up(self) -> None:
        """Send home those who wait, and those who come later."""
        self._barrier.abort()


class ThreadRank:
    """A World as one of several threads sees it."""

    def __init__(self, rank: int, world_size: int, meeting: Meeting) -> None:
        """Be one of them."""
        self.rank = self.local_rank = rank
        self.world_size = world_size
        self._meeting = meeting

    def launch(self, main: Callable[[], T]) -> T:
        """Call ``main``: this thread was started already."""
        return main()

    def reduce(self, values: Sequence[float], op: Reduction) -> list[float]:
        """Combine each value over the threads."""
        combine: Any = {"mean": fmean, "sum": sum, "min": min, "max": max}[op]
        return [combine(column) for column in zip(*self.gather(list(values)), strict=True)]

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return what the thread of rank ``src`` has."""
        return self.gather(obj)[src]

    def gather(self, obj: T) -> list[T]:
        """Return what all threads have."""
        return self._meeting.exchange(self.rank, obj)

    def barrier(self) -> None:
        """Wait for the other threads."""
        self.gather(None)

    def agree(self, code: int) -> int:
        """Return the greatest code of all threads."""
        return max(self.gather(code))


def in_ranks(world_size: int, main: Callable[[World], T]) -> list[T]:
    """Call ``main`` in a thread for each rank; return what each returned, in their order.

    Raises:
        BaseException: what the first rank to fail raised. The others are sent home.
    """
    meeting = Meeting(world_size)
    results: dict[int, T] = {}
    failed: list[BaseException] = []

    def be(rank: int) -> None:
        try:
            results[rank] = main(ThreadRank(rank, world_size, meeting))
        except BaseException as error:
            failed.append(error)
            meeting.break_up()

    threads = [threading.Thread(target=be, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [results[rank] for rank in range(world_size)]
