"""The face of the house: every name a training script needs, from the packages that hold them.

``import lt as pl`` runs a file written for Lightning: ``LightningModule`` and
``LightningDataModule`` are other names of :class:`LTModule` and :class:`LTDataModule`.
"""

from importlib.metadata import version as _version

from lt import callbacks, loggers, profilers, strategies, tuner, utilities
from lt_accel import seed_everything
from lt_data import CombinedLoader
from lt_loop import Callback, Trainer
from lt_module import LTDataModule, LTModule

__version__ = _version("lt")

LightningModule = LTModule
LightningDataModule = LTDataModule

__all__ = [
    "Callback",
    "CombinedLoader",
    "LTDataModule",
    "LTModule",
    "LightningDataModule",
    "LightningModule",
    "Trainer",
    "callbacks",
    "loggers",
    "profilers",
    "seed_everything",
    "strategies",
    "tuner",
    "utilities",
]
