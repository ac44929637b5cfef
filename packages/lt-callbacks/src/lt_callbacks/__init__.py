"""Callbacks for lt-loop: progress bar, early stopping, loggers, gradient checks.

Each callback is imported when it is first asked for, and the library it needs beside lt-loop, an
extra of this package, when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lt_callbacks.csv_logger import CSVLogger
    from lt_callbacks.device_stats_monitor import DeviceStatsMonitor
    from lt_callbacks.early_stopping import EarlyStopping
    from lt_callbacks.grad_check_once import GradCheckOnce
    from lt_callbacks.gradient_check import GradientCheck
    from lt_callbacks.learning_rate_monitor import LearningRateMonitor
    from lt_callbacks.model_summary import ModelSummary
    from lt_callbacks.preemption import Preemption
    from lt_callbacks.rich_model_summary import RichModelSummary
    from lt_callbacks.summary import summarize
    from lt_callbacks.tensorboard_logger import TensorBoardLogger
    from lt_callbacks.throughput_monitor import ThroughputMonitor
    from lt_callbacks.tqdm_progress_bar import TQDMProgressBar

__all__ = [
    "CSVLogger",
    "DeviceStatsMonitor",
    "EarlyStopping",
    "GradCheckOnce",
    "GradientCheck",
    "LearningRateMonitor",
    "ModelSummary",
    "Preemption",
    "RichModelSummary",
    "TQDMProgressBar",
    "TensorBoardLogger",
    "ThroughputMonitor",
    "summarize",
]

_MODULES = {
    "CSVLogger": "csv_logger",
    "DeviceStatsMonitor": "device_stats_monitor",
    "EarlyStopping": "early_stopping",
    "GradCheckOnce": "grad_check_once",
    "GradientCheck": "gradient_check",
    "LearningRateMonitor": "learning_rate_monitor",
    "ModelSummary": "model_summary",
    "Preemption": "preemption",
    "RichModelSummary": "rich_model_summary",
    "TQDMProgressBar": "tqdm_progress_bar",
    "TensorBoardLogger": "tensorboard_logger",
    "ThroughputMonitor": "throughput_monitor",
    "summarize": "summary",
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
