"""When a checkpoint is saved: every so many steps, so many epochs, or so much time."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import final

from lt_loop import Preempted, Trainer

log = logging.getLogger("lt_checkpoint")


@final
@dataclass(slots=True)
class Moments:
    """Says when one is due. One of the three at most is set; none of them means every epoch.

    Attributes:
        every_n_train_steps: optimizer steps from one to the next, 0 for not by steps.
        every_n_epochs: epochs from one to the next, 0 for not by epochs.
        train_time_interval: time from one to the next.
    """

    every_n_train_steps: int | None = None
    every_n_epochs: int | None = None
    train_time_interval: timedelta | None = None
    clock: Callable[[], float] = time.monotonic
    _since: float = 0.0
    _step: int = -1

    def __post_init__(self) -> None:
        """Check the arguments."""
        given = {
            "every_n_train_steps": self.every_n_train_steps,
            "every_n_epochs": self.every_n_epochs,
        }
        for name, value in given.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{name} is a whole number, 0 for never. Received {value!r}.")
            if value is not None and value < 0:
                raise ValueError(f"{name} is at least 0, which means never. Received {value}.")
        interval = self.train_time_interval
        if interval is not None and not isinstance(interval, timedelta):
            raise TypeError(
                "train_time_interval is a timedelta. Received "
                f"{interval!r}. Write datetime.timedelta(minutes=30)."
            )
        if interval is not None and interval < timedelta(0):
            raise ValueError(f"train_time_interval is not negative. Received {interval}.")
        asked = [f"{name}={value}" for name, value in given.items() if value]
        asked += [] if interval is None else [f"train_time_interval={interval}"]
        if len(asked) > 1:
            raise ValueError(
                "Checkpoints are saved by steps, by epochs or by time. Received "
                f"{', '.join(asked)}. Give one of them, and a second callback for another."
            )
        if self.every_n_train_steps is None and self.every_n_epochs is None and interval is None:
            self.every_n_epochs = 1
        self.every_n_train_steps = self.every_n_train_steps or 0
        self.every_n_epochs = self.every_n_epochs or 0

    def start(self, step: int) -> None:
        """Begin to count, where training begins or goes on."""
        self._since, self._step = self.clock(), step

    def after_step(self, step: int) -> bool:
        """Return whether one is due after an optimizer step. Asked again after the same, no."""
        every = self.every_n_train_steps
        if not every or step == self._step or step % every:
            return False
        self._step = step
        return True

    @property
    def by_time(self) -> bool:
        """Whether the time decides."""
        return self.train_time_interval is not None

    def after_time(self) -> bool:
        """Return whether one is due by the time."""
        if self.train_time_interval is None:
            return False
        now = self.clock()
        if now - self._since < self.train_time_interval.total_seconds():
            return False
        self._since = now
        return True

    def after_epoch(self, epoch: int) -> bool:
        """Return whether one is due after the epoch of this index."""
        every = self.every_n_epochs
        return bool(every) and (epoch + 1) % (every or 1) == 0


def can_save_after(exception: BaseException, trainer: Trainer) -> bool:
    """Return whether there is a whole state to save where a run has ended by an exception.

    Several ranks agree on Ctrl-C and SIGTERM only; after anything else the others would wait.
    """
    agreed = trainer.world_size == 1 or isinstance(exception, KeyboardInterrupt | Preempted)
    if not (trainer.at_safe_point and agreed):
        log.warning("nothing saved on %s: not at a safe point", type(exception).__name__)
        return False
    return True
