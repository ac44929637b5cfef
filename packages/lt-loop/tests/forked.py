"""A World of several processes, started by fork, in the standard library alone.

Everything goes through rank 0, over pipes that were opened before the fork.
"""

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")


class Forked:
    """Starts its ranks itself: ``launch`` forks them and waits for all."""

    def __init__(self, world_size: int = 2) -> None:
        self.rank = self.local_rank = 0
        self.world_size, self.starts_processes = world_size, True
        self._last_wish = 0

    def launch(self, main: Callable[[], T]) -> T:
        self._ends = [multiprocessing.Pipe() for _ in range(self.world_size)]
        results = [multiprocessing.Pipe(duplex=False) for _ in range(self.world_size)]
        children = []
        for rank in range(self.world_size):
            if (child := os.fork()) == 0:
                self._be(rank, main, results[rank][1])
            children.append(child)
        answers = [results[rank][0].recv() for rank in range(self.world_size)]
        for child in children:
            os.waitpid(child, 0)
        for kind, answer in answers:
            if kind == "raised":
                raise answer
        return pickle.loads(answers[0][1])  # type: ignore[no-any-return]

    def _be(self, rank: int, main: Callable[[], Any], result: Connection) -> None:
        self.rank = self.local_rank = rank
        self.starts_processes = False
        try:
            result.send(("returned", pickle.dumps(main())))
        except BaseException as error:
            traceback.print_exc()
            result.send(("raised", error))
        finally:
            os._exit(0)

    def gather(self, obj: T) -> list[T]:
        mine, theirs = zip(*self._ends, strict=True)
        if self.rank:
            theirs[self.rank].send(obj)
            return theirs[self.rank].recv()  # type: ignore[no-any-return]
        everything = [obj, *(mine[rank].recv() for rank in range(1, self.world_size))]
        for rank in range(1, self.world_size):
            mine[rank].send(everything)
        return everything

    def reduce(self, values: Sequence[float], op: str) -> list[float]:
        combine: Any = {"sum": sum, "min": min, "max": max}[op]
        return [combine(column) for column in zip(*self.gather(list(values)), strict=True)]

    def broadcast(self, obj: T, src: int = 0) -> T:
        return self.gather(obj)[src]

    def barrier(self) -> None:
        self.gather(None)

    def agree(self, code: int) -> int:
        """Answer for the call before, as a world does that does not wait."""
        answer, self._last_wish = self._last_wish, max(self.gather(code))
        return answer
