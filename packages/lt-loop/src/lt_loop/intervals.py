"""Intervals: when validation is due within an epoch, by batches or by the clock."""

from typing import Protocol, final

from lt_loop.limits import Limits
from lt_loop.progress import Progress
from lt_loop.run import Run
from lt_loop.sources import Source


class Interval(Protocol):
    """The time between two validations."""

    def over(self) -> bool:
        """Return whether one has passed: asked after each training batch."""

    def restart(self) -> None:
        """Note that a validation has ended."""


@final
class BatchInterval:
    """Ends after every n-th batch, of each epoch or across epochs."""

    def __init__(self, batches: int, progress: Progress, *, across_epochs: bool) -> None:
        """Count the batches of a run."""
        self._batches, self._progress, self._across_epochs = batches, progress, across_epochs

    def over(self) -> bool:
        """Return whether a multiple of n batches is done."""
        progress = self._progress
        return (progress.batches if self._across_epochs else progress.batch) % self._batches == 0

    def restart(self) -> None:
        """Do nothing: the batches count themselves."""


@final
class TimeInterval:
    """Ends so many seconds after the last validation, or after the start."""

    def __init__(self, seconds: float, run: Run) -> None:
        """Begin to measure the time of a run's training, unless that began in an earlier one."""
        self._seconds, self._run, self._world = seconds, run, run.ports.world
        if run.validates_at is None:
            self.restart()

    def over(self) -> bool:
        """Return whether the time has passed. Where there are several ranks, by rank 0's clock."""
        assert self._run.validates_at is not None
        over = self._run.seconds >= self._run.validates_at
        return over if self._world.world_size == 1 else self._world.broadcast(over)

    def restart(self) -> None:
        """Measure from now."""
        self._run.validates_at = self._run.seconds + self._seconds


def validation_interval(run: Run, source: Source) -> Interval | None:
    """Return the interval of a run's validations, None where they are at the end of epochs.

    Args:
        run: whose limits, progress and clock.
        source: the training loader.

    Raises:
        ValueError: the interval and the loader's length don't go together.
    """
    limits = run.limits
    if limits.val_check_seconds is not None:
        return TimeInterval(limits.val_check_seconds, run)
    batches = _batches(limits, source)
    if batches is None:
        return None
    return BatchInterval(
        batches, run.progress, across_epochs=limits.check_val_every_n_epoch is None
    )


def _batches(limits: Limits, source: Source) -> int | None:
    interval, batches = limits.val_check_interval, source.batches
    assert isinstance(interval, int | float)
    if isinstance(interval, int):
        across_epochs = limits.check_val_every_n_epoch is None
        if batches is not None and interval > batches and not across_epochs:
            raise ValueError(
                "val_check_interval may not exceed the batches of an epoch. Received "
                f"val_check_interval={interval} and {batches} training batches. Give at most "
                "that, a share of the epoch, or check_val_every_n_epoch=None to count batches "
                "across epochs."
            )
        return interval
    if interval == 1.0:
        return None
    if batches is None:
        raise ValueError(
            "val_check_interval as a share needs a loader with a length. Received "
            f"val_check_interval={interval} and a {source.kind} without. Give a number of batches "
            "or a duration."
        )
    return max(1, int(batches * interval))
