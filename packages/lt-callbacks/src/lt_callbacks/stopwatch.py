"""A stopwatch for the stages of a run. It knows no trainer."""

import time
from collections.abc import Callable
from typing import final

from lt_callbacks.spelling import suggestion

STAGES = ("train", "sanity_check", "validate", "test", "predict")
"""What can be timed, under Lightning's names."""


@final
class Stopwatch:
    """Measures how long each stage took: the last time it ran, and training in all.

    Attributes:
        before: seconds of training in the runs that this one continues.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing measured.

        Args:
            clock: returns seconds that never run backwards.
        """
        self._clock = clock
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self.before = 0.0

    def restart(self) -> None:
        """Forget everything."""
        self._started, self._ended, self.before = {}, {}, 0.0

    def begin(self, stage: str) -> None:
        """Note that a stage begins."""
        self._started[_checked(stage)] = self._clock()
        self._ended.pop(stage, None)

    def end(self, stage: str) -> None:
        """Note that a stage ends; of one that has not begun, nothing."""
        if _checked(stage) in self._started:
            self._ended[stage] = self._clock()

    def started(self, stage: str) -> float | None:
        """Return when a stage last began, in seconds of the clock, or None."""
        return self._started.get(_checked(stage))

    def ended(self, stage: str) -> float | None:
        """Return when a stage last ended, in seconds of the clock, or None."""
        return self._ended.get(_checked(stage))

    def elapsed(self, stage: str) -> float:
        """Return how many seconds a stage took, so far if it is under way."""
        before = self.before if _checked(stage) == "train" else 0.0
        if stage not in self._started:
            return before
        return self._ended.get(stage, self._clock()) - self._started[stage] + before


def _checked(stage: str) -> str:
    if stage in STAGES:
        return stage
    raise ValueError(
        f"What is timed is one of {', '.join(map(repr, STAGES))}. Received {stage!r}."
        f"{suggestion(str(stage), STAGES)}"
    )
