"""The rule of early stopping: values in, a verdict on each out. It knows no trainer."""

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, final

from lt_callbacks.spelling import suggestion


class EarlyStoppingReason(Enum):
    """Why early stopping stopped a run. The numbers are those that Lightning saves."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rule says about one value.

    Attributes:
        sentence: what happened; None where there is nothing to tell.
        reason: why to stop, if that is what it says.
    """

    sentence: str | None = None
    reason: EarlyStoppingReason = EarlyStoppingReason.NOT_STOPPED

    @property
    def stop(self) -> bool:
        """Whether the run should stop."""
        return self.reason is not EarlyStoppingReason.NOT_STOPPED


@final
@dataclass(slots=True, kw_only=True)
class StoppingRule:
    """Says when a value that should fall (or rise) has stopped doing so.

    Attributes:
        monitor: the name of the value, for sentences.
        mode: ``"min"`` where smaller is better, ``"max"`` where greater is.
        min_delta: a change of at most this much is no improvement.
        patience: checks in a row without improvement after which to stop.
        check_finite: stop at NaN and infinity.
        stopping_threshold: stop as soon as a value is better than this.
        divergence_threshold: stop as soon as a value is worse than this.
        best_score: the best value so far; infinitely bad before the first.
        wait_count: checks in a row without improvement so far.
    """

    monitor: str
    mode: Literal["min", "max"] = "min"
    min_delta: float = 0.0
    patience: int = 3
    check_finite: bool = True
    stopping_threshold: float | None = None
    divergence_threshold: float | None = None
    best_score: float = field(init=False)
    wait_count: int = field(init=False)

    def __post_init__(self) -> None:
        """Check the arguments."""
        mode: Any = self.mode
        if mode not in ("min", "max"):
            raise ValueError(
                f"mode must be 'min' or 'max'. Received mode={mode!r}."
                f"{suggestion(str(mode), ['min', 'max'])}"
            )
        patience: Any = self.patience
        if isinstance(patience, bool) or not isinstance(patience, int):
            raise TypeError(f"patience must be an int, a number of checks. Received {patience!r}.")
        if patience < 0:
            raise ValueError(f"patience must be at least 0. Received patience={patience}.")
        self.restart()

    def restart(self) -> None:
        """Forget all values."""
        self.best_score = math.inf if self.mode == "min" else -math.inf
        self.wait_count = 0

    def judge(self, value: float) -> Verdict:
        """Take in the next value."""
        stopping, divergence = self.stopping_threshold, self.divergence_threshold
        said = f"{self.monitor}={value:.6g}"
        better, worse = ("below", "above") if self.mode == "min" else ("above", "below")
        if self.check_finite and not math.isfinite(value):
            return Verdict(
                f"{said} is not finite{self._best()}", EarlyStoppingReason.NON_FINITE_METRIC
            )
        if stopping is not None and self._better(value, stopping):
            return Verdict(
                f"{said} is {better} stopping_threshold={stopping:g}",
                EarlyStoppingReason.STOPPING_THRESHOLD,
            )
        if divergence is not None and self._better(divergence, value):
            return Verdict(
                f"{said} is {worse} divergence_threshold={divergence:g}",
                EarlyStoppingReason.DIVERGENCE_THRESHOLD,
            )
        if self._better(self._handicapped(value), self.best_score):
            before, self.best_score, self.wait_count = self.best_score, value, 0
            by = f", by {abs(before - value):.3g}" if math.isfinite(before) else ""
            return Verdict(f"{said} is the best so far{by}")
        self.wait_count += 1
        if self.wait_count < self.patience:
            return Verdict()
        checks = "check" if self.wait_count == 1 else "checks"
        return Verdict(
            f"{self.monitor} has not improved in {self.wait_count} {checks}{self._best()}",
            EarlyStoppingReason.PATIENCE_EXHAUSTED,
        )

    def _better(self, value: float, than: float) -> bool:
        return value < than if self.mode == "min" else value > than

    def _handicapped(self, value: float) -> float:
        return value + self.min_delta if self.mode == "min" else value - self.min_delta

    def _best(self) -> str:
        if not math.isfinite(self.best_score):
            return ""
        return f"; its best was {self.best_score:.6g}"
