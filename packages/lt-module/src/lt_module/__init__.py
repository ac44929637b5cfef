"""The research side of lt: a module with its data, steps and hooks, that knows no trainer."""

from lt_module.datamodule import LTDataModule
from lt_module.hyperparameters import HyperParameters
from lt_module.module import LTModule

__all__ = ["HyperParameters", "LTDataModule", "LTModule"]
