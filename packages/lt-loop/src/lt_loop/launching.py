"""Launching: one call of a trainer in every process, and what comes home from other ones.

A world may start processes of its own. Then the whole run happens in those, and the process that
called has, afterwards, what a caller looks at: the result, the module's weights, the states of the
callbacks, the last numbers.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from lt_loop.host import on_host
from lt_loop.lifecycle import sentence, unwrapped
from lt_loop.ports import World
from lt_loop.progress import Progress
from lt_loop.run import Run, RunResult

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Returned(Generic[T]):
    """What a run in another process brings home.

    Attributes:
        answer: what the call returns.
        weights: the program's, on the host; None where it has none.
        callbacks: their states, in their order.
        progress: how far the run came.
        result: how it ended.
        shown: what was logged, by the tables of a logbook.
    """

    answer: T
    weights: Any
    callbacks: list[dict[str, Any]]
    progress: Progress
    result: RunResult | None
    shown: list[dict[str, float]]


class Begins(Generic[T]):
    """What a world runs in every process: the run that is there, or one that is planned anew.

    It can be pickled where the trainer, the program and what the call was given can be: worlds that
    start processes by ``spawn`` send it to them.
    """

    def __init__(self, run: Run, again: Callable[[], Run], begin: Callable[[Run], T]) -> None:
        """Take what :func:`launch` is given, in the process that calls it."""
        self._here, self._run, self._again, self._begin = os.getpid(), run, again, begin
        self._progress = run.progress

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the run that was planned here."""
        return {**self.__dict__, "_run": None}

    def __call__(self) -> T | Returned[T]:
        """Do the run; in another process, bring home what comes of it."""
        if os.getpid() == self._here:
            return self._begin(self._run)
        there = self._again()
        there.progress = replace(self._progress)
        return _brought_home(there, self._begin(there))


def launch(
    run: Run, *, again: Callable[[], Run], begin: Callable[[Run], T], world: World
) -> tuple[Run, T]:
    """Run in every process; return the run as it is here afterwards, and what it returned.

    Args:
        run: as it was planned in this process.
        again: plans it in a process that the world started, which is told its rank only there.
        begin: does the run.
        world: starts the processes, or is one of them.

    Raises:
        BaseException: whatever ended the run.
    """
    elsewhere = getattr(world, "starts_processes", False)
    try:
        returned = world.launch(Begins(run, again, begin))
    except BaseException as error:
        cause = unwrapped(error)
        if elsewhere:
            run.end_elsewhere(RunResult(sentence(cause), run.progress, {}), [{}, {}, {}])
        if cause is error:
            raise
        raise cause from None
    if isinstance(returned, Returned):
        _take_in(run, returned)
        return run, returned.answer
    return run, returned


def _brought_home(run: Run, answer: T) -> Returned[T]:
    """Return what the caller will look at. Every rank takes part, rank 0's is handed on."""
    weights = run.ports.backend.capture(copy=False).get("program") if run.fn == "fit" else None
    return Returned(
        answer=answer,
        weights=on_host(weights),
        callbacks=[dict(callback.state_dict()) for callback in run.callbacks],
        progress=run.progress,
        result=run.result,
        shown=run.logbook.shown(),
    )


def _take_in(run: Run, returned: Returned[Any]) -> None:
    adopt = getattr(run.ports.backend, "adopt", None)
    if returned.weights is not None and adopt is not None:
        adopt(run.program, returned.weights)
    elif returned.weights is not None and hasattr(run.program, "load_state_dict"):
        run.program.load_state_dict(returned.weights)
    for callback, state in zip(run.callbacks, returned.callbacks, strict=True):
        if state:
            callback.load_state_dict(state)
    run.progress = returned.progress
    if returned.result is not None:
        run.end_elsewhere(returned.result, returned.shown)
