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

import logging
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
    the handlers are what they were.
    """
    names = {"SIGINT", "SIGTERM", *(name for c in run.callbacks for name in c.signals)}
    numbers = [getattr(signal, name) for name in sorted(names) if hasattr(signal, name)]
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers} if in_main else {}
    taken = {number: handler for number, handler in before.items() if handler in FREE}
    for number, handler in taken.items():
        signal.signal(number, _request(run, handler))
    try:
        yield
        run.raise_for_signal()  # one that came after the last safe point
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def _request(run: Run, before: Any) -> Callable[[int, FrameType | None], None]:
    def request(number: int, frame: FrameType | None) -> None:
        if run.signal:
            signal.signal(number, before)
            signal.raise_signal(number)
            return
        run.signal = number
        log.warning(
            "%s: stopping at the next safe point; send it again to stop at once",
            signal.Signals(number).name,
        )

    return request
