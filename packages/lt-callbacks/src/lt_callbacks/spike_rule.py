"""The rule of spike detection: losses in, a verdict on each out. It knows no trainer."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, final

from lt_callbacks.spelling import suggestion


@final
@dataclass(slots=True, kw_only=True)
class SpikeRule:
    """Says whether a loss is a spike: worse than the one before, and far from the running mean.

    Far is at least ``atol`` and at least ``rtol`` times the mean away, of those that are given. A
    loss that is not finite is a spike if ``finite_only``.

    Attributes:
        mode: ``"min"`` where smaller is better, ``"max"`` where greater is.
        window: how many of the last losses the mean is taken of.
        atol: a distance; None not to look at it.
        rtol: a share of the mean; None not to look at it.
        finite_only: whether NaN and infinity are spikes.
        last: the last loss that was no spike, 0 before the first.
        losses: the last of them, oldest first.
    """

    mode: Literal["min", "max"] = "min"
    window: int = 10
    atol: float | None = None
    rtol: float | None = 2.0
    finite_only: bool = True
    last: float = field(init=False, default=0.0)
    losses: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        """Check the arguments."""
        mode: Any = self.mode
        if mode not in ("min", "max"):
            raise ValueError(
                f"mode must be 'min' or 'max'. Received mode={mode!r}."
                f"{suggestion(str(mode), ['min', 'max'])}"
            )
        window: Any = self.window
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ValueError(f"window is a number of losses of at least 1. Received {window!r}.")
        if self.atol is None and self.rtol is None:
            raise ValueError(
                "A spike is a loss that is far from the mean of those before. Received atol=None "
                "and rtol=None, with which every loss that rises is one. Give one of them."
            )
        self.restart()

    def restart(self, last: float = 0.0, losses: Iterable[float] = ()) -> None:
        """Forget all losses, or go on from these."""
        self.last = float(last)
        self.losses = deque(map(float, losses), maxlen=self.window)

    @property
    def mean(self) -> float:
        """The mean of the last losses; NaN before the first."""
        return math.fsum(self.losses) / len(self.losses) if self.losses else math.nan

    def is_spike(self, loss: float) -> bool:
        """Return whether a loss is a spike. Nothing is remembered of it."""
        if not math.isfinite(loss):
            return self.finite_only
        if loss <= self.last if self.mode == "min" else loss >= self.last:
            return False
        distance, mean = abs(loss - self.mean), abs(self.mean)
        return (self.atol is None or distance >= abs(self.atol)) and (
            self.rtol is None or distance >= abs(self.rtol) * mean
        )

    def remember(self, loss: float) -> None:
        """Take in a loss that was no spike; one that is not finite says nothing."""
        if math.isfinite(loss):
            self.losses.append(loss)
            self.last = loss
