"""The defaults of ``logger``, ``enable_progress_bar`` and the like, by what is installed.

``Trainer`` finds these functions as entry points of the group ``lt.callbacks``.
"""

from pathlib import Path

from lt_callbacks.csv_logger import CSVLogger
from lt_callbacks.extras import missing
from lt_callbacks.model_summary import ModelSummary
from lt_callbacks.tensorboard_logger import TensorBoardLogger
from lt_callbacks.tqdm_progress_bar import TQDMProgressBar
from lt_loop import Callback


def progress_bar() -> Callback | None:
    """Return a :class:`TQDMProgressBar`, or None where tqdm is not installed."""
    return None if missing("tqdm") else TQDMProgressBar()


def logger(save_dir: str | Path) -> Callback:
    """Return a :class:`TensorBoardLogger`, or a :class:`CSVLogger` where it can't be used.

    Neither makes its folder before there is something to write.

    Args:
        save_dir: where ``lightning_logs/version_0`` and so on are made.
    """
    return CSVLogger(save_dir) if missing("tensorboard") else TensorBoardLogger(save_dir)


def model_summary() -> Callback | None:
    """Return a :class:`ModelSummary`, or None where torch is not installed."""
    return None if missing("summary") else ModelSummary()
