"""Ctrl-C: the first one stops at the next safe point, the second one at once."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lt_loop.run import Run

log = logging.getLogger("lt_loop")


@contextmanager
def stopping_at_safe_point(run: Run) -> Iterator[None]:
    """Turn the first SIGINT into a request to stop, which becomes a KeyboardInterrupt there.

    Only in the main thread, and only where nobody else has taken the signal.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def request(number: int, frame: FrameType | None) -> None:
        if run.interrupted:
            signal.default_int_handler(number, frame)
        run.interrupted = True
        log.warning("Ctrl-C: stopping at the next safe point; press it again to stop at once")

    signal.signal(signal.SIGINT, request)
    try:
        yield
        if run.interrupted:  # after the last safe point
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
