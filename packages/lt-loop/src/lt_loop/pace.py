"""Keeping pace: where every forward is one of all ranks, all of them run as many.

A rank whose batches are over runs its last one again, as long as another one has more; one that
has none at all runs one that another rank lends it. Neither counts: what is logged is dropped, no
hook is called, and the backend puts back what the step left behind in the program.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any, final

from lt_loop.entries import MetricEntry
from lt_loop.logbook import Page
from lt_loop.ports import World
from lt_loop.run import Run

_NONE = object()


@final
class Pace:
    """What the ranks tell each other before each forward.

    Attributes:
        begun: whether any rank had a batch.
    """

    def __init__(self, world: World) -> None:
        """Start before the first batch."""
        self._world = world
        self._met = self.begun = False

    def announce(self, batch: Any) -> None:
        """Say that this rank goes on, with this batch, which one without any may borrow."""
        if self._met:
            self._world.reduce([1.0], "max")
        else:
            self._meet(batch)

    def again(self, batch: Any, place: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield what to run, this rank's batches being over, as long as another one has more.

        Args:
            batch: this rank's last one, in its place; anything where it had none.
            place: brings one that is borrowed there.
        """
        if not self._met:
            borrowed = self._meet(_NONE)
            if borrowed is _NONE:
                return
            batch = place(borrowed)
            yield batch
        while self._world.reduce([0.0], "max")[0]:
            yield batch

    def _meet(self, batch: Any) -> Any:
        """Begin: where some ranks have a batch and others none, the first that has one lends it."""
        have = self._world.gather(batch is not _NONE)
        self._met, self.begun = True, any(have)
        if all(have) or not self.begun:
            return batch
        lender = have.index(True)
        return self._world.broadcast(batch if self._world.rank == lender else None, lender)


def run_again(run: Run, page: Page, step: Callable[[Any], Any], batches: Iterator[Any]) -> None:
    """Run a step on batches that don't count."""
    undone = getattr(run.ports.backend, "undone", nullcontext)
    for first in batches:
        metrics = [e.metric for e in page.entries.values() if isinstance(e, MetricEntry)]
        run.repeats = True
        try:
            # All of them in one block: it copies whatever a step might change.
            with run.logbook.on_trial(), _scratch(run, page), undone([run.program, *metrics]):
                for batch in chain((first,), batches):
                    step(batch)
        finally:
            run.repeats = False


@contextmanager
def _scratch(run: Run, page: Page) -> Iterator[None]:
    """Let what is logged inside go to a page that nobody reads.

    A metric object that reduces over ranks by itself is noted all the same: where this rank had no
    batch, the others wait for it at the end of the epoch.
    """
    if run.logbook.page is None:
        yield
        return
    scratch = run.logbook.page = page.beside()
    try:
        yield
    finally:
        run.logbook.page = page
    for name, entry in scratch.entries.items():
        if entry.meets_ranks and name not in page.entries:
            entry.fresh = False
            page.entries[name] = entry
