"""Limits: how long a run may be and how often it does what, each number checked when made."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MaxTime = str | datetime.timedelta | Mapping[str, int]

_MAY_BE_NONE = ("max_epochs", "min_epochs", "min_steps", "check_val_every_n_epoch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a run may be. Names and meanings are those of Trainer's arguments.

    Counts of batches are an int (that many) or a float (that share of the loader).

    Attributes:
        max_epochs: stop after this many epochs; None for 1000 unless steps or time are limited;
            -1 for no limit.
        min_epochs: requests to stop wait until this many epochs are done.
        max_steps: stop after this many optimizer steps; -1 for no limit.
        min_steps: requests to stop wait until this many optimizer steps are done.
        max_time: stop after this long: ``"DD:HH:MM:SS"``, a timedelta, or its keyword arguments.
        limit_train_batches: training batches of an epoch; likewise for val, test and predict.
        val_check_interval: validate after this many training batches, or this share of an epoch.
        check_val_every_n_epoch: validate only in every n-th epoch; None to count the batches of
            ``val_check_interval``, an int then, across epochs.
        num_sanity_val_steps: validation batches tried before training; -1 for all of them.
        accumulate_grad_batches: batches whose gradients make one optimizer step.
        gradient_clip_val: clip gradients to this norm or value; None for no clipping.
        gradient_clip_algorithm: ``"norm"`` or ``"value"``.
        log_every_n_steps: optimizer steps between two points of a logged value.

    Raises:
        ValueError: a number is out of its range.
        TypeError: a value is of the wrong type.
    """

    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: MaxTime | None = None
    limit_train_batches: int | float = 1.0
    limit_val_batches: int | float = 1.0
    limit_test_batches: int | float = 1.0
    limit_predict_batches: int | float = 1.0
    val_check_interval: int | float = 1.0
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: int = 2
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    log_every_n_steps: int = 50
    max_seconds: float | None = field(init=False)

    def __post_init__(self) -> None:
        """Check every number."""
        for name in ("max_epochs", "max_steps"):
            _check_int(name, getattr(self, name), at_least=-1, or_else="-1 for no limit")
        _check_int("num_sanity_val_steps", self.num_sanity_val_steps, at_least=-1)
        for name in ("min_epochs", "min_steps"):
            _check_int(name, getattr(self, name), at_least=0)
        for name in ("check_val_every_n_epoch", "accumulate_grad_batches", "log_every_n_steps"):
            _check_int(name, getattr(self, name), at_least=1)
        for phase in ("train", "val", "test", "predict"):
            name = f"limit_{phase}_batches"
            _check_share(name, getattr(self, name), zero=True)
        _check_share("val_check_interval", self.val_check_interval, zero=False)
        if self.check_val_every_n_epoch is None and isinstance(self.val_check_interval, float):
            raise ValueError(
                "check_val_every_n_epoch=None counts the batches of val_check_interval across "
                f"epochs. Received val_check_interval={self.val_check_interval}, a share of one. "
                "Give a number of batches."
            )
        _check_clipping(self.gradient_clip_val, self.gradient_clip_algorithm)
        object.__setattr__(self, "max_seconds", _seconds(self.max_time))
        for least, most in (("min_epochs", "max_epochs"), ("min_steps", "max_steps")):
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and 0 <= high < low:
                raise ValueError(
                    f"{least} may not exceed {most}. Received {least}={low} and {most}={high}."
                )

    @property
    def epochs(self) -> int | None:
        """The number of epochs that ends the run, or None where another limit does."""
        if self.max_epochs == -1:
            return None
        if self.max_epochs is None:
            return 1000 if self.max_steps == -1 and self.max_seconds is None else None
        return self.max_epochs

    @property
    def steps(self) -> int | None:
        """The number of optimizer steps that ends the run, or None."""
        return None if self.max_steps == -1 else self.max_steps


def batches_within(limit: int | float, length: int | None, *, name: str) -> int | None:
    """Return how many of a loader's batches a limit lets through, None for all of an unknown many.

    >>> batches_within(0.25, 10, name="limit_val_batches"), batches_within(3, None, name="...")
    (2, 3)

    Raises:
        ValueError: a share of a loader whose length is not known, or a share that is no batch.
    """
    if isinstance(limit, int):
        return limit if length is None else min(limit, length)
    if length is None:
        if limit in (0.0, 1.0):
            return None if limit else 0
        raise ValueError(
            f"{name} as a share needs a loader with a length. Received {name}={limit} and a loader "
            "without. Give a number of batches."
        )
    count = int(length * limit)
    if count == 0 and limit > 0.0 and length > 0:
        raise ValueError(
            f"{name} must let at least one batch through. Received {name}={limit} of {length} "
            f"batches. Give at least {1 / length:.3g}, a number of batches, or 0 for none."
        )
    return count


def _check_int(name: str, value: Any, *, at_least: int, or_else: str = "") -> None:
    if value is None and name in _MAY_BE_NONE:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int. Received {name}={value!r}.")
    if value < at_least:
        remedy = f", or {or_else}" if or_else else ""
        least = max(at_least, 0) if or_else else at_least
        raise ValueError(f"{name} must be at least {least}{remedy}. Received {name}={value}.")


def _check_share(name: str, value: Any, *, zero: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{name} must be an int (a number of batches) or a float (a share of them). "
            f"Received {name}={value!r}."
        )
    least = "0" if zero else "more than 0"
    if value < 0 or (value == 0 and not zero):
        raise ValueError(
            f"{name} must be {least if not zero else 'at least 0'}. Received {name}={value!r}."
        )
    if isinstance(value, float) and not value <= 1.0:
        raise ValueError(
            f"{name} as a float is a share between 0.0 and 1.0. Received {name}={value}. "
            f"For a number of batches give an int: {name}={max(1, round(value))}."
        )


def _check_clipping(value: Any, algorithm: Any) -> None:
    if algorithm not in ("norm", "value"):
        raise ValueError(
            "gradient_clip_algorithm must be 'norm' or 'value'. "
            f"Received gradient_clip_algorithm={algorithm!r}."
        )
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"gradient_clip_val must be a number. Received {value!r}.")
    if not value >= 0:
        raise ValueError(
            f"gradient_clip_val must be positive, or None or 0 for no clipping. Received {value}."
        )


def _seconds(max_time: MaxTime | None) -> float | None:
    if max_time is None:
        return None
    if isinstance(max_time, str):
        if not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", max_time):
            raise ValueError(
                "max_time as a string is 'DD:HH:MM:SS' (days, hours, minutes, seconds). "
                f"Received max_time={max_time!r}."
            )
        days, hours, minutes, seconds = map(int, max_time.split(":"))
        max_time = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    if not isinstance(max_time, datetime.timedelta):
        try:
            max_time = datetime.timedelta(**max_time)
        except TypeError as error:
            raise TypeError(
                "max_time must be 'DD:HH:MM:SS', a timedelta or a dict of its arguments. "
                f"Received max_time={max_time!r}."
            ) from error
    return max_time.total_seconds()
