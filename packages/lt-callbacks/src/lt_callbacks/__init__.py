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
    from lt_callbacks.early_stopping import EarlyStopping
    from lt_callbacks.ema_weight_averaging import EMAWeightAveraging
    from lt_callbacks.finetuning import BaseFinetuning
    from lt_callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler
    from lt_callbacks.gradient_check import GradientCheck
    from lt_callbacks.lambda_callback import LambdaCallback
    from lt_callbacks.learning_rate_finder import LearningRateFinder
    from lt_callbacks.on_exception_checkpoint import OnExceptionCheckpoint
    from lt_callbacks.prediction_writer import BasePredictionWriter
    from lt_callbacks.preemption import Preemption
    from lt_callbacks.spike_detection import SpikeDetection
    from lt_callbacks.stochastic_weight_averaging import StochasticWeightAveraging
    from lt_callbacks.tensorboard_logger import TensorBoardLogger
    from lt_callbacks.timer import Timer
    from lt_callbacks.tqdm_progress_bar import TQDMProgressBar
    from lt_callbacks.tuner import Tuner
    from lt_callbacks.weight_averaging import WeightAveraging

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "CSVLogger",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "GradientCheck",
    "LambdaCallback",
    "LearningRateFinder",
    "OnExceptionCheckpoint",
    "Preemption",
    "SpikeDetection",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "TensorBoardLogger",
    "Timer",
    "Tuner",
    "WeightAveraging",
]

_MODULES = {
    "BackboneFinetuning": "backbone_finetuning",
    "BaseFinetuning": "finetuning",
    "BasePredictionWriter": "prediction_writer",
    "BatchSizeFinder": "batch_size_finder",
    "CSVLogger": "csv_logger",
    "EMAWeightAveraging": "ema_weight_averaging",
    "EarlyStopping": "early_stopping",
    "GradientAccumulationScheduler": "gradient_accumulation_scheduler",
    "GradientCheck": "gradient_check",
    "LambdaCallback": "lambda_callback",
    "LearningRateFinder": "learning_rate_finder",
    "OnExceptionCheckpoint": "on_exception_checkpoint",
    "Preemption": "preemption",
    "SpikeDetection": "spike_detection",
    "StochasticWeightAveraging": "stochastic_weight_averaging",
    "TQDMProgressBar": "tqdm_progress_bar",
    "TensorBoardLogger": "tensorboard_logger",
    "Timer": "timer",
    "Tuner": "tuner",
    "WeightAveraging": "weight_averaging",
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
