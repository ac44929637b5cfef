"""The callbacks of lt-callbacks and lt-checkpoint, under the names that Lightning gives them.

Each is imported when it is first asked for, with the library it needs.
"""

from typing import TYPE_CHECKING, Any

import lt_callbacks
from lt_checkpoint import ModelCheckpoint
from lt_loop import Callback

if TYPE_CHECKING:
    from lt_callbacks import (
        BackboneFinetuning,
        BaseFinetuning,
        BasePredictionWriter,
        BatchSizeFinder,
        DeviceStatsMonitor,
        EarlyStopping,
        EMAWeightAveraging,
        GradCheckOnce,
        GradientAccumulationScheduler,
        GradientCheck,
        LambdaCallback,
        LearningRateFinder,
        LearningRateMonitor,
        ModelSummary,
        OnExceptionCheckpoint,
        Preemption,
        ProgressBar,
        RichModelSummary,
        RichProgressBar,
        SpikeDetection,
        StochasticWeightAveraging,
        ThroughputMonitor,
        Timer,
        TQDMProgressBar,
        WeightAveraging,
    )

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradCheckOnce",
    "GradientAccumulationScheduler",
    "GradientCheck",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "Preemption",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "SpikeDetection",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
    "WeightAveraging",
]


def __getattr__(name: str) -> Any:
    return getattr(lt_callbacks, name)
