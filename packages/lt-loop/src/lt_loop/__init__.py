"""The lifecycle engine of lt: the loop, the ports, ``Callback`` and ``Trainer``.

Standard library only: importing it imports neither torch nor numpy.
"""

import logging

from lt_loop.callback import Callback
from lt_loop.limits import Limits
from lt_loop.ports import Backend, Feed, Program, Store, Stream, World
from lt_loop.profiling import PassThroughProfiler, Profiler
from lt_loop.progress import Progress
from lt_loop.run import Preempted, RunResult
from lt_loop.state import NothingLeftError
from lt_loop.trainer import Trainer

__all__ = [
    "Backend",
    "Callback",
    "Feed",
    "Limits",
    "NothingLeftError",
    "PassThroughProfiler",
    "Preempted",
    "Profiler",
    "Program",
    "Progress",
    "RunResult",
    "Store",
    "Stream",
    "Trainer",
    "World",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
