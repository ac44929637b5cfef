"""A World that starts its ranks by fork and keeps every promise, to break one at a time.

The process that launches is the hub: it passes on what ranks exchange, and sees who ends how.
"""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from statistics import fmean
from typing import Any


class ForkedWorld:
    local_rank = rank = 0
    world_size = 2
    starts_processes = True

    def launch(self, main: Callable[[], Any]) -> Any:
        pipes = [multiprocessing.Pipe() for _ in range(self.world_size)]
        children = []
        for rank, (_, end) in enumerate(pipes):
            if (child := os.fork()) == 0:
                for hub, other in pipes:
                    hub.close()
                    if other is not end:
                        other.close()
                self._be(rank, main, end)
            children.append(child)
        for _, end in pipes:
            end.close()
        try:
            return self._serve([hub for hub, _ in pipes])
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            for hub, _ in pipes:
                hub.close()

    def _serve(self, hubs: list[Connection]) -> Any:
        """Pass on what is exchanged, until all have returned or one has failed."""
        results: dict[int, Any] = {}
        while len(results) < len(hubs):
            waiting = {rank: hub for rank, hub in enumerate(hubs) if rank not in results}
            exchanged: dict[int, Any] = {}
            while waiting:
                for hub in wait(list(waiting.values())):
                    rank = hubs.index(hub)
                    try:
                        kind, obj = pickle.loads(hub.recv_bytes())
                    except EOFError:
                        raise RuntimeError(f"Rank {rank} ended without a result.") from None
                    if kind == "failed":
                        raise obj
                    (results if kind == "returned" else exchanged)[rank] = obj
                    del waiting[rank]
            for rank in exchanged:
                hubs[rank].send([exchanged[other] for other in sorted(exchanged)])
        return results[0]

    def _be(self, rank: int, main: Callable[[], Any], end: Connection) -> None:
        self.rank = self.local_rank = rank
        self.starts_processes = False
        self._end = end
        try:
            end.send(("returned", main()))
        except BaseException as error:
            end.send(("failed", error))
        finally:
            os._exit(0)

    def gather(self, obj: Any) -> list[Any]:
        self._end.send(("exchanged", obj))
        return self._end.recv()  # type: ignore[no-any-return]

    def reduce(self, values: Sequence[float], op: str) -> list[float]:
        combine: Any = {"mean": fmean, "sum": sum, "min": min, "max": max}[op]
        return [combine(column) for column in zip(*self.gather(list(values)), strict=True)]

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return self.gather(obj)[src]

    def barrier(self) -> None:
        self.gather(None)

    _wish = 0

    def agree(self, code: int) -> int:
        """Answer for the call before, as a world does that does not wait."""
        answer, self._wish = self._wish, max(self.gather(code))
        return answer
