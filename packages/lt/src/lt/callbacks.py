"""The callbacks of lt-callbacks, under the name that Lightning gives them.

Each is imported when it is first asked for, with the library it needs.
"""

from typing import TYPE_CHECKING, Any

import lt_callbacks
from lt_loop import Callback

if TYPE_CHECKING:
    from lt_callbacks import (
        BackboneFinetuning,
        BaseFinetuning,
        BasePredictionWriter,
        BatchSizeFinder,
        EarlyStopping,
        EMAWeightAveraging,
        GradientAccumulationScheduler,
        GradientCheck,
        LambdaCallback,
        LearningRateFinder,
        OnExceptionCheckpoint,
        Preemption,
        SpikeDetection,
        StochasticWeightAveraging,
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
    "Timer",
    "WeightAveraging",
]


def __getattr__(name: str) -> Any:
    return getattr(lt_callbacks, name)
