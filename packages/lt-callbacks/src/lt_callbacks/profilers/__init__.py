"""Profilers: where the time of a run goes. ``Trainer(profiler="simple")`` finds them by name.

Each is imported when it is first asked for, and torch when a :class:`PyTorchProfiler` is made.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lt_callbacks.profilers.advanced import AdvancedProfiler
    from lt_callbacks.profilers.profiler import Profiler
    from lt_callbacks.profilers.pytorch import PyTorchProfiler
    from lt_callbacks.profilers.simple import SimpleProfiler

__all__ = ["AdvancedProfiler", "Profiler", "PyTorchProfiler", "SimpleProfiler"]

_MODULES = {
    "AdvancedProfiler": "advanced",
    "Profiler": "profiler",
    "PyTorchProfiler": "pytorch",
    "SimpleProfiler": "simple",
}

if not TYPE_CHECKING:  # so that a type checker refuses a misspelt name

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(
                f"lt_callbacks.profilers has {', '.join(__all__)}. Received {name!r}.",
                name=name,
                obj=None,
            )
        found = getattr(import_module(f"lt_callbacks.profilers.{_MODULES[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
