"""The arguments of ModelCheckpoint, checked and settled."""

import os
from collections.abc import Mapping
from typing import Any

from lt_checkpoint.places import is_url, plain
from lt_checkpoint.spelling import suggestion
from lt_loop import Trainer


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a word that is none of a few.

    Raises:
        ValueError: it is none.
    """
    if value not in choices:
        raise ValueError(
            f"{name} is one of {', '.join(map(repr, choices))}. Received {name}={value!r}."
            f"{suggestion(str(value), choices)}"
        )


def check_top_k(save_top_k: Any, monitor: str | None) -> None:
    """Refuse a number of checkpoints that can't be kept.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is out of range, or nothing says which are the best.
    """
    if isinstance(save_top_k, bool) or not isinstance(save_top_k, int):
        raise TypeError(f"save_top_k is a whole number. Received save_top_k={save_top_k!r}.")
    if save_top_k < -1:
        raise ValueError(
            f"save_top_k is -1 for all, 0 for none, or how many. Received save_top_k={save_top_k}."
        )
    if monitor is None and save_top_k > 1:
        raise ValueError(
            "Which checkpoints are the best is decided by a logged value. Received "
            f"save_top_k={save_top_k} and monitor=None. Name it: monitor='val_loss'."
        )


def normal_folder(dirpath: str | os.PathLike[str] | None) -> str | None:
    """Return a folder as an absolute path, or a URL; None where none was given."""
    if not dirpath:
        return None
    path = plain(os.fspath(dirpath))
    return path.rstrip("/") if is_url(path) else os.path.realpath(os.path.expanduser(path))


def check_timeout(seconds: float | None) -> None:
    """Check a time that a save may take.

    Raises:
        ValueError: it is none.
    """
    if seconds is not None and not seconds > 0:
        raise ValueError(
            f"save_timeout is a time above 0, or None for any. Received save_timeout={seconds!r}."
        )


def default_folder(trainer: Trainer) -> str:
    """Return where the checkpoints of a run go if nobody says so, as in Lightning."""
    log_dir = trainer.log_dir if trainer.loggers else None
    root = log_dir or trainer.default_root_dir
    return f"{normal_folder(root)}/checkpoints"


def folder_before_a_run(dirpath: str | None, trainer: Trainer | None) -> str | None:
    """Return where checkpoints of an earlier run are looked for; None where nobody can know.

    A logger's own folder is of the run that it logs, so it is not asked for before there is one.
    """
    if dirpath is None and trainer is not None and not trainer.loggers:
        return default_folder(trainer)
    return dirpath


def saves_on_train_epoch_end(trainer: Trainer, asked: bool | None) -> bool:
    """Return whether epochs are counted at their end, rather than at that of validation loops."""
    if asked is not None:
        return asked
    interval = trainer.limits.val_check_interval  # the int 1 is a batch, the float 1.0 an epoch
    if trainer.limits.check_val_every_n_epoch != 1 or not isinstance(interval, int | float):
        return False
    return not sum(trainer.num_val_batches) or (isinstance(interval, float) and interval == 1.0)


def not_logged(monitor: str, metrics: Mapping[str, float]) -> LookupError:
    """Return the error that says that the monitored value was not logged."""
    return LookupError(
        f"ModelCheckpoint monitors a logged value. Received monitor={monitor!r}, but what was "
        f"logged is {', '.join(metrics) or 'nothing'}.{suggestion(monitor, metrics)} Log it before "
        f"the save: self.log({monitor!r}, value)."
    )
