"""Patience: how long a save may take before it counts as hung."""

import faulthandler
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

log = logging.getLogger("lt_checkpoint")

EXIT_CODE = 74
"""What a process exits with whose own thread hangs in a save: sysexits' "input/output error"."""


@contextmanager
def watched(seconds: float | None, what: str) -> Iterator[None]:
    """End the process if what happens inside takes too long, with the stacks of its threads.

    A write that hangs in the kernel can't be broken off, so nothing less would help.

    Args:
        seconds: how long it may take; None for any time.
        what: what to call it.
    """
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, _give_up, [seconds, what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def patient(world: Any) -> AbstractContextManager[Any]:
    """Return a block whose length says nothing about whether this rank hangs.

    Where a world watches over its ranks, it has ``busy()``, which returns such a block.
    """
    busy: Callable[[], AbstractContextManager[Any]] = getattr(world, "busy", nullcontext)
    return busy()


def _give_up(seconds: float, what: str) -> None:
    log.error("%s has taken more than %g seconds and counts as hung: ending", what, seconds)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(EXIT_CODE)
