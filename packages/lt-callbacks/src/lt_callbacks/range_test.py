"""The learning-rate range test: which rates to try, when to stop, and what the losses suggest.

Leslie Smith, "Cyclical Learning Rates for Training Neural Networks" (2015), section 3.3. It knows
no trainer.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any, Literal, final

from lt_callbacks import extras
from lt_callbacks.spelling import suggestion

log = logging.getLogger("lt_callbacks")

MODES = ("exponential", "linear")
FORGETS = 0.98
"""How much of the running mean of the losses each new one leaves."""


@final
class LRFinder:
    """The rates that a range test tries, and what came of them.

    Attributes:
        mode: how the rate rises.
        lr_min: the first rate.
        lr_max: the last rate.
        num_training: how many rates.
        results: the rates tried (``"lr"``) and the smoothed loss at each (``"loss"``).

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        mode: Literal["exponential", "linear"],
        lr_min: float,
        lr_max: float,
        num_training: int,
    ) -> None:
        """Plan a test."""
        if mode not in MODES:
            raise ValueError(
                f"mode is 'exponential' or 'linear'. Received mode={mode!r}."
                f"{suggestion(str(mode), MODES)}"
            )
        if not 0 < lr_min < lr_max < math.inf:
            raise ValueError(
                "A range test tries learning rates from one above 0 to a greater one. Received "
                f"min_lr={lr_min!r} and max_lr={lr_max!r}."
            )
        if type(num_training) is not int or num_training < 1:
            raise ValueError(
                "A range test tries a number of learning rates of at least 1. "
                f"Received num_training={num_training!r}."
            )
        self.mode, self.num_training = mode, num_training
        self.lr_min, self.lr_max = lr_min, lr_max
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}
        self._optimal_idx: int | None = None

    def lr(self, index: int) -> float:
        """Return the learning rate of a step: the first is the least, the last the greatest."""
        share = (index + 1) / self.num_training if index else 0.0
        if self.mode == "linear":
            return self.lr_min + share * (self.lr_max - self.lr_min)
        return self.lr_min * float((self.lr_max / self.lr_min) ** share)

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """Return the rate at which the loss falls most steeply.

        The slope is taken over the axis along which the rates were tried: their logarithm in
        exponential mode. Over the rate itself, as Lightning takes it, the smallest rates are so
        close together that noise between them looks steep.

        Args:
            skip_begin: how many of the first points say nothing yet.
            skip_end: how many of the last points say nothing any more.

        Returns:
            None where fewer than two finite losses are left.
        """
        rates, losses = self.results["lr"], self.results["loss"]
        kept = [i for i in range(len(losses))[skip_begin : -skip_end or None] if _finite(losses[i])]
        self._optimal_idx = None
        if len(kept) < 2:
            log.error(
                "a learning rate is suggested by two losses or more; %d of %d are left. Try more "
                "steps, or a smaller max_lr",
                len(kept),
                len(losses),
            )
            return None
        along = math.log if self.mode == "exponential" else float
        slopes = gradient([losses[i] for i in kept], [along(rates[i]) for i in kept])
        self._optimal_idx = kept[slopes.index(min(slopes))]
        return rates[self._optimal_idx]

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """Draw the losses over the rates, with matplotlib.

        Args:
            suggest: mark the suggested rate with a red point.
            show: show the figure.
            ax: the axes to draw into; None for a new figure.

        Returns:
            The figure.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        plotting = extras.load(
            "lt_callbacks.learning_rate_plot", extra="plot", wanted_by="LRFinder.plot"
        )
        marked = suggest and self.suggestion() is not None
        return plotting.draw(
            self.results["lr"],
            self.results["loss"],
            logarithmic=self.mode == "exponential",
            marked=self._optimal_idx if marked else None,
            ax=ax,
            show=show,
        )


@final
class LossCurve:
    """Takes in the loss of each rate: smooths it, and says when to stop.

    Attributes:
        smoothed: a running mean of the losses, in which each counts less the older it is.
        diverged: whether the last one was not finite, or so many times the best.
    """

    def __init__(self, threshold: float | None) -> None:
        """Start without a loss.

        Args:
            threshold: how many times the best one is too much; None for no such thing.
        """
        self._threshold, self._sum, self._count = threshold, 0.0, 0
        self._best = math.inf
        self.smoothed = math.nan
        self.diverged = False

    def add(self, loss: float) -> float:
        """Take in a loss, and return the smoothed one."""
        self._count += 1
        self._sum = FORGETS * self._sum + (1 - FORGETS) * loss
        self.smoothed = self._sum / (1 - FORGETS**self._count)
        if self._threshold is not None and self._count > 1:
            room = (self._threshold - 1) * abs(self._best)  # a loss may be negative
            self.diverged = not _finite(loss) or self.smoothed > self._best + room
        self._best = min(self._best, self.smoothed)
        return self.smoothed


def gradient(values: Sequence[float], at: Sequence[float]) -> list[float]:
    """Return the derivative of values at points apart: second order inside, first at the ends.

    The formula is that of ``numpy.gradient`` and ``torch.gradient``.

    >>> gradient([0.0, 1.0, 9.0], [0.0, 1.0, 3.0])
    [1.0, 2.0, 4.0]
    """
    slopes = [
        (after - before) / (right - left)
        for before, after, left, right in zip(values, values[1:], at, at[1:], strict=False)
    ]
    inner = [
        (slope * (right - here) + following * (here - left)) / (right - left)
        for slope, following, left, here, right in zip(
            slopes, slopes[1:], at, at[1:], at[2:], strict=False
        )
    ]
    return [slopes[0], *inner, slopes[-1]]


def _finite(value: float) -> bool:
    return math.isfinite(value)
