"""Signals: the first one stops a run at its next safe point, the second one at once.

============  ==================================  =========
signal        what comes out of the run           exit code
============  ==================================  =========
``SIGINT``    ``KeyboardInterrupt``               130
``SIGTERM``   :class:`~lt_loop.run.Preempted`     143
others        :class:`~lt_loop.run.Preempted`     128 + n
============  ==================================  =========

Others are those that a callback names in its attribute ``signals``, as ``SIGUSR1``. The exit code
is that of a script that does not catch the exception.
"""

import faulthandler
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lt_loop.run import Run

log = logging.getLogger("lt_loop")

FREE = (signal.SIG_DFL, signal.default_int_handler)
"""Handlers that mean nobody has taken a signal."""


@contextmanager
def stopping_at_safe_point(run: Run) -> Iterator[None]:
    """Turn the first signal into a request to stop, which becomes an exception at a safe point.

    Only in the main thread, only signals that nobody else has taken, and only inside; afterwards
    the handlers are what they were. Where a callback has ``grace_seconds``, a run that has not
    ended so long after a signal is ended at once, with the stacks of all threads on standard error.
    """
    names = {"SIGINT", "SIGTERM", *(name for c in run.callbacks for name in c.signals)}
    numbers = [getattr(signal, name) for name in sorted(names) if hasattr(signal, name)]
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers} if in_main else {}
    taken = {number: handler for number, handler in before.items() if handler in FREE}
    graces = [c.grace_seconds for c in run.callbacks if c.grace_seconds is not None]
    grace = Grace(min(graces, default=None))
    for number, handler in taken.items():
        signal.signal(number, _request(run, handler, grace))
    try:
        yield
        run.raise_for_signal()  # one that came after the last safe point
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        grace.end()


def _request(run: Run, before: Any, grace: "Grace") -> Callable[[int, FrameType | None], None]:
    def request(number: int, frame: FrameType | None) -> None:
        if run.signal:
            run.at_once = True
            signal.signal(number, before)
            signal.raise_signal(number)
            return
        run.signal = number
        grace.begin(number)
        log.warning(
            "%s: stopping at the next safe point; send it again to stop at once",
            signal.Signals(number).name,
        )

    return request


class Grace:
    """The time between a signal and the end of the process, if it is limited."""

    def __init__(self, seconds: float | None) -> None:
        """Limit it, or not with None."""
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def begin(self, number: int) -> None:
        """Note that a signal came."""
        if self._seconds is not None:
            self._timer = threading.Timer(self._seconds, self._give_up, [number])
            self._timer.daemon = True
            self._timer.start()

    def end(self) -> None:
        """Note that the run has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self, number: int) -> None:
        log.error(
            "%s: no safe point was reached and left within %g seconds, ending at once",
            *(signal.Signals(number).name, self._seconds),
        )
        faulthandler.dump_traceback(all_threads=True)
        os._exit(128 + number)
