"""Callbacks for lt-loop: progress bar, early stopping, loggers, gradient checks.

Each callback is imported when it is first asked for, and the library it needs beside lt-loop, an
extra of this package, when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lt_callbacks.csv_logger import CSVLogger
    from lt_callbacks.early_stopping import EarlyStopping
    from lt_callbacks.gradient_check import GradientCheck
    from lt_callbacks.preemption import Preemption
    from lt_callbacks.tensorboard_logger import TensorBoardLogger
    from lt_callbacks.tqdm_progress_bar import TQDMProgressBar

__all__ = [
    "CSVLogger",
    "EarlyStopping",
    "GradientCheck",
    "Preemption",
    "TQDMProgressBar",
    "TensorBoardLogger",
]

_MODULES = {
    "CSVLogger": "csv_logger",
    "EarlyStopping": "early_stopping",
    "GradientCheck": "gradient_check",
    "Preemption": "preemption",
    "TQDMProgressBar": "tqdm_progress_bar",
    "TensorBoardLogger": "tensorboard_logger",
}

if not TYPE_CHECKING:  # so that a type checker refuses a misspelt name

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(
                f"lt_callbacks has {', '.join(__all__)}. Received {name!r}.", name=name, obj=None
            )
        found = getattr(import_module(f"lt_callbacks.{_MODULES[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
