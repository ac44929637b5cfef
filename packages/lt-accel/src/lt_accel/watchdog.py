"""Watchdog: a rank that hangs says where and ends; one whose launcher is gone ends too."""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
from typing import TextIO, final

from lt_accel.board import Pulse

GRACE = 10.0
"""Seconds more that a rank may wait for another one than that one may be silent."""

ORPHANED = 70
"""Exit code of a rank whose launcher is gone."""


@final
class Watchdog:
    """Watches over this process from a thread, and from below Python.

    The stack is printed and the process ended by ``faulthandler``, whose clock runs outside of
    Python: it works too where an extension never gives the interpreter back. The thread here only
    winds that clock up while there are signs of life.
    """

    def __init__(
        self, pulse: Pulse, *, limit: float | None, parent: int | None, stack: TextIO
    ) -> None:
        """Prepare to watch.

        Args:
            pulse: the signs of life.
            limit: seconds without one that count as hanging; None for any number.
            parent: the process that must live; None for any.
            stack: an open file for the stack of a rank that hangs.
        """
        self._pulse, self._limit, self._parent, self._stack = pulse, limit, parent, stack
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lt-watchdog", daemon=True)

    def __enter__(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()
        if self._limit is not None:
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        period = 1.0 if self._limit is None else min(1.0, self._limit / 4)
        while not self._over.wait(period):
            if self._parent is not None and os.getppid() != self._parent:
                os._exit(ORPHANED)
            if self._limit is not None and self._pulse.watched:
                self._wind(self._limit)

    def _wind(self, limit: float) -> None:
        """Let the clock run out when the last sign of life is too old."""
        left = limit + (GRACE if self._pulse.inside else 0.0) - self._pulse.age()
        faulthandler.dump_traceback_later(max(left, 0.001), file=self._stack, exit=True)


def die_with_parent() -> None:
    """Ask the system to kill this process when the one that started it ends, however it ends.

    Linux alone knows that; elsewhere the watchdog looks.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
