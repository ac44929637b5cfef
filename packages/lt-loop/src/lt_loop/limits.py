"""Limits: how long a run may be and how often it does what, each number checked when made."""

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Duration = str | datetime.timedelta | Mapping[str, int]
"""``"DD:HH:MM:SS"``, a timedelta, or its keyword arguments."""

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
        overfit_batches: train on this many batches, the same ones in each epoch, and validate on as
            many; 0 for no such thing. It takes the place of both limits, unless
            ``limit_val_batches`` is 0, and turns shuffling off.
        val_check_interval: validate after this many training batches, or this share of an epoch, or
            at the first batch that ends this long after the last validation, written as in
            ``max_time``; then not at the end of an epoch as such.
        check_val_every_n_epoch: validate only in every n-th epoch; None to count the batches of
            ``val_check_interval``, no share then, across epochs.
        num_sanity_val_steps: validation batches tried before training; -1 for all of them.
        accumulate_grad_batches: batches whose gradients make one optimizer step; or a schedule,
            ``{0: 1, 4: 2}``: so many from that epoch on, 1 before the first.
        gradient_clip_val: clip gradients to this norm or value; None for no clipping.
        gradient_clip_algorithm: ``"norm"`` or ``"value"``.
        log_every_n_steps: optimizer steps between two points of a logged value.
        reload_dataloaders_every_n_epochs: ask module or datamodule for new loaders of training and
            validation after this many epochs; 0 for never.
        max_seconds: ``max_time`` in seconds.
        val_check_seconds: ``val_check_interval`` in seconds; None where it counts batches.

    Raises:
        ValueError: a number is out of its range.
        TypeError: a value is of the wrong type.
    """

    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: Duration | None = None
    limit_train_batches: int | float = 1.0
    limit_val_batches: int | float = 1.0
    limit_test_batches: int | float = 1.0
    limit_predict_batches: int | float = 1.0
    overfit_batches: int | float = 0
    val_check_interval: int | float | Duration = 1.0
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: int = 2
    accumulate_grad_batches: int | Mapping[int, int] = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    log_every_n_steps: int = 50
    reload_dataloaders_every_n_epochs: int = 0
    max_seconds: float | None = field(init=False)
    val_check_seconds: float | None = field(init=False)

    def __post_init__(self) -> None:
        """Check every number."""
        for name in ("max_epochs", "max_steps"):
            _check_int(name, getattr(self, name), at_least=-1, or_else="-1 for no limit")
        _check_int("num_sanity_val_steps", self.num_sanity_val_steps, at_least=-1)
        for name in ("min_epochs", "min_steps", "reload_dataloaders_every_n_epochs"):
            _check_int(name, getattr(self, name), at_least=0)
        for name in ("check_val_every_n_epoch", "log_every_n_steps"):
            _check_int(name, getattr(self, name), at_least=1)
        _check_accumulation(self.accumulate_grad_batches)
        for phase in ("train", "val", "test", "predict"):
            name = f"limit_{phase}_batches"
            _check_share(name, getattr(self, name), zero=True)
        _check_share("overfit_batches", self.overfit_batches, zero=True)
        self._settle_overfitting()
        if self.check_val_every_n_epoch is None and isinstance(self.val_check_interval, float):
            raise ValueError(
                "check_val_every_n_epoch=None counts the batches of val_check_interval across "
                f"epochs. Received val_check_interval={self.val_check_interval}, a share of one. "
                "Give a number of batches."
            )
        _check_clipping(self.gradient_clip_val, self.gradient_clip_algorithm)
        object.__setattr__(self, "max_seconds", _seconds("max_time", self.max_time))
        object.__setattr__(self, "val_check_seconds", self._seconds_between_validations())
        for least, most in (("min_epochs", "max_epochs"), ("min_steps", "max_steps")):
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and 0 <= high < low:
                raise ValueError(
                    f"{least} may not exceed {most}. Received {least}={low} and {most}={high}."
                )

    def _settle_overfitting(self) -> None:
        if self.overfit_batches:
            object.__setattr__(self, "limit_train_batches", self.overfit_batches)
            if self.limit_val_batches:
                object.__setattr__(self, "limit_val_batches", self.overfit_batches)

    def _seconds_between_validations(self) -> float | None:
        name, interval = "val_check_interval", self.val_check_interval
        if not isinstance(interval, str | datetime.timedelta | Mapping):
            _check_share(name, interval, zero=False)
            return None
        seconds = _seconds(name, interval)
        if seconds == 0:
            raise ValueError(f"{name} must be longer than nothing. Received {name}={interval!r}.")
        return seconds

    def validates_in(self, epoch: int) -> bool:
        """Return whether ``check_val_every_n_epoch`` lets an epoch have validations."""
        return (epoch + 1) % (self.check_val_every_n_epoch or 1) == 0

    def accumulation(self, epoch: int) -> int:
        """Return how many batches make an optimizer step in an epoch.

        >>> Limits(accumulate_grad_batches={2: 4, 5: 8}).accumulation(4)
        4
        """
        given = self.accumulate_grad_batches
        if isinstance(given, int):
            return given
        begun = [start for start in given if start <= epoch]
        return given[max(begun)] if begun else 1

    @property
    def accumulates(self) -> bool:
        """Whether some epoch has optimizer steps of several batches."""
        given = self.accumulate_grad_batches
        return max([given] if isinstance(given, int) else given.values()) > 1

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
            f"batches. Give at least {_smallest_share(length)}, a number of batches, or 0 for none."
        )
    return count


def _smallest_share(length: int) -> float:
    """Return a short number that is at least one of so many batches."""
    places = 1000
    while int(length * (math.ceil(places / length) / places)) < 1:
        places *= 10
    return float(math.ceil(places / length) / places)


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
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number. Received {name}={value!r}.")
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


def _check_accumulation(value: Any) -> None:
    name = "accumulate_grad_batches"
    if not isinstance(value, Mapping):
        _check_int(name, value, at_least=1)
        return
    if not value or not all(type(epoch) is int and epoch >= 0 for epoch in value):
        raise ValueError(
            f"A schedule of {name} maps epochs, from 0, to numbers of batches. Received "
            f"{name}={value!r}. Write for example {{0: 1, 4: 2}}."
        )
    for epoch, batches in value.items():
        _check_int(f"{name}[{epoch}]", batches, at_least=1)


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


def _seconds(name: str, given: Duration | None) -> float | None:
    if given is None:
        return None
    duration = given
    if isinstance(duration, str):
        if not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", duration):
            raise ValueError(
                f"{name} as a string is 'DD:HH:MM:SS' (days, hours, minutes, seconds). "
                f"Received {name}={given!r}."
            )
        days, hours, minutes, seconds = map(int, duration.split(":"))
        duration = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    if not isinstance(duration, datetime.timedelta):
        try:
            duration = datetime.timedelta(**duration)
        except TypeError as error:
            raise TypeError(
                f"{name} must be 'DD:HH:MM:SS', a timedelta or a dict of its arguments. "
                f"Received {name}={given!r}."
            ) from error
    if duration < datetime.timedelta():
        raise ValueError(f"{name} may not be negative. Received {name}={duration!r}.")
    return duration.total_seconds()
