"""The profilers of lt-callbacks, under the name that Lightning gives them.

Each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from lt_callbacks import profilers
from lt_loop import PassThroughProfiler

if TYPE_CHECKING:
    from lt_callbacks.profilers import (
        AdvancedProfiler,
        Profiler,
        PyTorchProfiler,
        SimpleProfiler,
    )

__all__ = [
    "AdvancedProfiler",
    "PassThroughProfiler",
    "Profiler",
    "PyTorchProfiler",
    "SimpleProfiler",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"lt.profilers has {', '.join(__all__)}. Received {name!r}.")
    return getattr(profilers, name)
