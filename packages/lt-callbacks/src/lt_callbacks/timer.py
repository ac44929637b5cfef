"""Timer: how long training, validation and test take, and a limit for training."""

import datetime
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, final

from lt_callbacks.spelling import suggestion
from lt_callbacks.stopwatch import STAGES, Stopwatch
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")

Duration = str | datetime.timedelta | Mapping[str, int]


@final
class Timer(Callback):
    """Measures the stages of a run, and asks it to stop when training has taken too long.

    The request is kept like any other: the run stops at the next safe point that ``min_epochs`` and
    ``min_steps`` allow, and one rank that asks is enough. Time that training took before a resume
    counts. ``Trainer(max_time=...)`` is a limit without a callback.

    Args:
        duration: how long training may take: ``"DD:HH:MM:SS"``, a timedelta, or its keyword
            arguments; None for no limit.
        interval: when to look: after each batch (``"step"``) or each epoch (``"epoch"``).
        verbose: log that the time is up, at level INFO.
        clock: returns seconds that never run backwards.

    Raises:
        TypeError: the duration is of none of these types.
        ValueError: the duration can't be read or is negative, or the interval is neither.
    """

    def __init__(
        self,
        duration: Duration | None = None,
        interval: Literal["step", "epoch"] = "step",
        verbose: bool = True,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if interval not in ("step", "epoch"):
            raise ValueError(
                f"interval is 'step' or 'epoch'. Received interval={interval!r}."
                f"{suggestion(str(interval), ['step', 'epoch'])}"
            )
        self._duration = None if duration is None else seconds_of(duration)
        self._interval, self._verbose = interval, verbose
        self._watch = Stopwatch(clock)

    def start_time(self, stage: str = "train") -> float | None:
        """Return when a stage last began, in seconds of the clock; None if it has not."""
        return self._watch.started(stage)

    def end_time(self, stage: str = "train") -> float | None:
        """Return when a stage last ended, in seconds of the clock; None if it has not."""
        return self._watch.ended(stage)

    def time_elapsed(self, stage: str = "train") -> float:
        """Return how many seconds a stage took, so far if it is under way."""
        return self._watch.elapsed(stage)

    def time_remaining(self, stage: str = "train") -> float | None:
        """Return how many seconds of the duration are left to a stage; None without a duration."""
        return None if self._duration is None else self._duration - self.time_elapsed(stage)

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds each stage took."""
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in STAGES}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the training that was saved count."""
        self._watch.before = float(state_dict["time_elapsed"]["train"])

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew, if it is a fit."""
        if stage == "fit":
            self._watch.restart()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start, and look whether a run that goes on has any time left."""
        self._watch.begin("train")
        self._check(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop the clock."""
        self._watch.end("train")

    def on_sanity_check_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start."""
        self._watch.begin("sanity_check")

    def on_sanity_check_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop the clock."""
        self._watch.end("sanity_check")

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start, but for the sanity check, which is a stage of its own."""
        if not trainer.sanity_checking:
            self._watch.begin("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop the clock."""
        if not trainer.sanity_checking:
            self._watch.end("validate")

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start."""
        self._watch.begin("test")

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop the clock."""
        self._watch.end("test")

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start."""
        self._watch.begin("predict")

    def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop the clock."""
        self._watch.end("predict")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the clock, if this is the moment."""
        if self._interval == "step":
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the clock, if this is the moment."""
        if self._interval == "epoch":
            self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        remaining = self.time_remaining()
        if remaining is None or remaining > 0 or trainer.should_stop:
            return
        reason = f"the {self._duration:g} seconds of the Timer are up"
        trainer.stop(reason)
        if self._verbose and trainer.is_global_zero:
            log.info("%s, after %.0f seconds of training", reason, self.time_elapsed())


def seconds_of(duration: Duration) -> float:
    """Return a duration in seconds.

    >>> seconds_of("01:00:00:30"), seconds_of({"minutes": 2})
    (86430.0, 120.0)

    Raises:
        TypeError: it is of none of the types of a duration.
        ValueError: it can't be read, or is negative.
    """
    given: Any = duration
    if isinstance(given, str):
        match = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", given.strip())
        if match is None:
            raise ValueError(
                "duration as a string is 'DD:HH:MM:SS' (days, hours, minutes, seconds). "
                f"Received duration={given!r}."
            )
        names = ("days", "hours", "minutes", "seconds")
        given = dict(zip(names, map(int, match.groups()), strict=True))
    if isinstance(given, Mapping):
        try:
            given = datetime.timedelta(**given)
        except TypeError as error:
            raise TypeError(
                "duration as a dict has the keyword arguments of datetime.timedelta. "
                f"Received duration={duration!r}."
            ) from error
    if not isinstance(given, datetime.timedelta):
        raise TypeError(
            "duration is 'DD:HH:MM:SS', a timedelta or a dict of its arguments. "
            f"Received duration={duration!r}."
        )
    if given < datetime.timedelta():
        raise ValueError(f"duration may not be negative. Received duration={duration!r}.")
    return given.total_seconds()
