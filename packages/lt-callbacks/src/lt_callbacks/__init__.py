"""Callbacks for lt-loop: progress bar, early stopping, loggers, gradient checks.

Each callback is imported when it is first asked for, and the library it needs beside lt-loop, an
extra of this package, when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lt_callbacks.backbone_finetuning import BackboneFinetuning
    from lt_callbacks.batch_size_finder import BatchSizeFinder
    from lt_callbacks.csv_logger import CSVLogger
    from lt_callbacks.device_stats_monitor import DeviceStatsMonitor
    from lt_callbacks.early_stopping import EarlyStopping
    from lt_callbacks.ema_weight_averaging import EMAWeightAveraging
    from lt_callbacks.finetuning import BaseFinetuning
    from lt_callbacks.grad_check_once import GradCheckOnce
    from lt_callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler
    from lt_callbacks.gradient_check import GradientCheck
    from lt_callbacks.lambda_callback import LambdaCallback
    from lt_callbacks.learning_rate_finder import LearningRateFinder
    from lt_callbacks.learning_rate_monitor import LearningRateMonitor
    from lt_callbacks.logger import Logger
    from lt_callbacks.mlflow_logger import MLFlowLogger
    from lt_callbacks.model_summary import ModelSummary
    from lt_callbacks.on_exception_checkpoint import OnExceptionCheckpoint
    from lt_callbacks.prediction_writer import BasePredictionWriter
    from lt_callbacks.preemption import Preemption
    from lt_callbacks.progress_bar import ProgressBar
    from lt_callbacks.rich_model_summary import RichModelSummary
    from lt_callbacks.rich_progress_bar import RichProgressBar
    from lt_callbacks.rich_theme import RichProgressBarTheme
    from lt_callbacks.spike_detection import SpikeDetection
    from lt_callbacks.stochastic_weight_averaging import StochasticWeightAveraging
    from lt_callbacks.summary import summarize
    from lt_callbacks.tensorboard_logger import TensorBoardLogger
    from lt_callbacks.throughput_monitor import ThroughputMonitor
    from lt_callbacks.timer import Timer
    from lt_callbacks.tqdm_progress_bar import TQDMProgressBar
    from lt_callbacks.tuner import Tuner
    from lt_callbacks.wandb_logger import WandbLogger
    from lt_callbacks.weight_averaging import WeightAveraging

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "CSVLogger",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradCheckOnce",
    "GradientAccumulationScheduler",
    "GradientCheck",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "Logger",
    "MLFlowLogger",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "Preemption",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "RichProgressBarTheme",
    "SpikeDetection",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "TensorBoardLogger",
    "ThroughputMonitor",
    "Timer",
    "Tuner",
    "WandbLogger",
    "WeightAveraging",
    "summarize",
]

_MODULES = {
    "BackboneFinetuning": "backbone_finetuning",
    "BaseFinetuning": "finetuning",
    "BasePredictionWriter": "prediction_writer",
    "BatchSizeFinder": "batch_size_finder",
    "CSVLogger": "csv_logger",
    "DeviceStatsMonitor": "device_stats_monitor",
    "EMAWeightAveraging": "ema_weight_averaging",
    "EarlyStopping": "early_stopping",
    "GradCheckOnce": "grad_check_once",
    "GradientAccumulationScheduler": "gradient_accumulation_scheduler",
    "GradientCheck": "gradient_check",
    "LambdaCallback": "lambda_callback",
    "LearningRateFinder": "learning_rate_finder",
    "LearningRateMonitor": "learning_rate_monitor",
    "Logger": "logger",
    "MLFlowLogger": "mlflow_logger",
    "ModelSummary": "model_summary",
    "OnExceptionCheckpoint": "on_exception_checkpoint",
    "Preemption": "preemption",
    "ProgressBar": "progress_bar",
    "RichModelSummary": "rich_model_summary",
    "RichProgressBar": "rich_progress_bar",
    "RichProgressBarTheme": "rich_theme",
    "SpikeDetection": "spike_detection",
    "StochasticWeightAveraging": "stochastic_weight_averaging",
    "TQDMProgressBar": "tqdm_progress_bar",
    "TensorBoardLogger": "tensorboard_logger",
    "ThroughputMonitor": "throughput_monitor",
    "Timer": "timer",
    "Tuner": "tuner",
    "WandbLogger": "wandb_logger",
    "WeightAveraging": "weight_averaging",
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
