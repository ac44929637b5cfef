"""The search for the largest batch size that fits. It knows no trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

from lt_callbacks.spelling import suggestion

MODES = ("power", "binsearch")


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one batch size.

    Attributes:
        error: the error that says that memory was too small; None where it was not.
        samples: how many there are at all; None where that is not known.
    """

    error: BaseException | None = None
    samples: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizeSearch:
    """Finds the largest batch size that fits, by trying.

    Attributes:
        mode: ``"power"`` doubles until memory is too small; ``"binsearch"`` then narrows down
            between the last that fitted and the first that did not.
        init_val: the first size tried. Where even that is too large, it is halved.
        max_trials: how many sizes are tried at most.
        margin: the share by which ``"binsearch"`` lowers what it found, if memory was the limit.
        max_val: the largest size to try; None for no limit.
    """

    mode: Literal["power", "binsearch"] = "power"
    init_val: int = 2
    max_trials: int = 25
    margin: float = 0.05
    max_val: int | None = 8192

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.mode not in MODES:
            raise ValueError(
                f"mode is 'power' or 'binsearch'. Received mode={self.mode!r}."
                f"{suggestion(str(self.mode), MODES)}"
            )
        for name in ("init_val", "max_trials", "max_val"):
            value: Any = getattr(self, name)
            optional = name == "max_val" and value is None
            if not optional and (type(value) is not int or value < 1):
                raise ValueError(f"{name} is an int of at least 1. Received {name}={value!r}.")
        if not 0 <= self.margin < 1:
            raise ValueError(
                f"margin is a share of at least 0 and below 1. Received margin={self.margin!r}."
            )

    def run(self, attempt: Callable[[int], Trial]) -> int:
        """Return the largest size that was tried and fitted, lowered by the margin.

        Args:
            attempt: tries a size.

        Raises:
            BaseException: the error of the last attempt, where nothing fitted.
        """
        size = self.init_val if self.max_val is None else min(self.init_val, self.max_val)
        fits, fails, error = 0, None, None
        for _ in range(self.max_trials):
            trial = attempt(size)
            if trial.error is None:
                fits = max(fits, size)
            else:
                fails, error = size, trial.error
            larger = self._next(fits, fails, trial.samples)
            if larger is None:
                break
            size = larger
        if not fits:
            assert error is not None
            raise error
        lower = self.mode == "binsearch" and fails is not None
        return max(1, int(fits * (1 - self.margin))) if lower else fits

    def _next(self, fits: int, fails: int | None, samples: int | None) -> int | None:
        """Return the size to try next, None where the search is over."""
        if fails is None:
            enough = samples is not None and fits >= samples
            if enough or fits == self.max_val:
                return None
            return fits * 2 if self.max_val is None else min(fits * 2, self.max_val)
        if fails - fits <= 1 or (fits and self.mode == "power"):
            return None
        return (fits + fails) // 2
