"""ProgressBar: how far a run is, for whatever draws it."""

import math
import sys
from abc import ABC, abstractmethod
from time import monotonic
from typing import Any, ClassVar

from lt_callbacks.bar import Bar, Kind, Place, PlainLine
from lt_callbacks.result_table import result_table, without_repeats
from lt_loop import Callback, Trainer

NEVER = math.inf


class ProgressBar(Callback, ABC):
    """Shows a bar for each epoch, and one below it for each validation loop. Abstract.

    It shows the values logged with ``prog_bar=True``, which is the only thing it waits for the
    device for. It is drawn by time: a batch between two drawings costs one look at the clock. Of an
    epoch that is over there stays one line, with the values logged in it. Where there is no screen,
    in a file or a pipe, that line is all there is. The results of ``test`` and ``validate`` are
    written to standard output as a table unless they were called with ``verbose=False``, on a
    terminal or not. Rank 0 only.

    Lightning's methods may be overridden: :meth:`get_metrics`, :meth:`print`, and the properties
    that describe a bar.

    Args:
        refresh_rate: draw only after multiples of this many batches; 0 to show nothing.
        leave: whether the line of each epoch stays on the screen (Lightning's default is False),
            or only that of the last one.
        refresh_seconds: draw at most this often.

    Raises:
        ValueError: a number is negative.
    """

    role: ClassVar[str] = "progress_bar"

    sanity_check_description: str = "Sanity check"
    validation_description: str = "Validation"
    test_description: str = "Testing"
    predict_description: str = "Predicting"

    def __init__(
        self, refresh_rate: int = 1, leave: bool = True, *, refresh_seconds: float = 0.1
    ) -> None:
        for name, value in (("refresh_rate", refresh_rate), ("refresh_seconds", refresh_seconds)):
            check_not_negative(name, value)
        self.refresh_rate, self.refresh_seconds = refresh_rate, refresh_seconds
        self.leave = leave
        self._enabled = True
        self._shows = self._live = False
        self._due = NEVER
        self._epoch_bar: Bar | None = None
        self._loop_bar: Bar | None = None
        self._done = 0

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be copied and pickled: all but the bars on the screen."""
        return super().__getstate__() | {"_epoch_bar": None, "_loop_bar": None}

    @property
    def trainer(self) -> Trainer:
        """The trainer of the run.

        Raises:
            RuntimeError: no run is under way.
        """
        if self._logs_to is None:
            raise RuntimeError(
                "A progress bar has a trainer while a run is under way. Received a request outside "
                "of one. Ask in a hook, which is given the trainer."
            )
        return self._logs_to

    @property
    def train_description(self) -> str:
        """What stands before the bar of an epoch."""
        trainer = self.trainer
        of = "" if trainer.max_epochs == -1 else f"/{trainer.max_epochs}"
        return f"Epoch {trainer.current_epoch + 1}{of}"

    @property
    def total_train_batches(self) -> float:
        """Batches of a training epoch; inf where that is not known."""
        return self.trainer.num_training_batches

    @property
    def total_val_batches(self) -> float:
        """Batches of all validation loaders, or of the part of them that is tried out."""
        trainer = self.trainer
        return sum(
            trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        )

    @property
    def is_enabled(self) -> bool:
        """Whether it shows anything."""
        return self._enabled and self.refresh_rate > 0

    @property
    def is_disabled(self) -> bool:
        """Whether it shows nothing."""
        return not self.is_enabled

    def enable(self) -> None:
        """Show something, from the next run on."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing, from the next run on."""
        self._enabled = False

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """Return what stands behind a bar: name to number or string. Override it to change that.

        Args:
            trainer: the trainer.
            pl_module: the program.
        """
        return dict(trainer.progress_bar_metrics)

    def print(self, *args: Any, sep: str = " ", end: str = "\n", file: Any = None) -> None:
        """Print above the bar, where ``print`` alone would write into it."""
        self.write(sep.join(map(str, args)) + end, sys.stdout if file is None else file)

    @abstractmethod
    def write(self, text: str, file: Any) -> None:
        """Write text that ends with a line to a file, above whatever bars there are."""

    @abstractmethod
    def has_screen(self) -> bool:
        """Return whether there is something to draw on. Asked once for each run."""

    @abstractmethod
    def open_bar(self, place: Place) -> Bar:
        """Return a new bar on the screen."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """See whether there is somebody to draw for."""
        screen = self.has_screen()  # imports what it needs now, not an hour in
        self._shows = self.is_enabled and trainer.is_global_zero
        self._live = self._shows and screen
        self._due = -NEVER if self._live else NEVER

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Leave the terminal as it should be: also after an exception.

        Nothing is read any more: what failed may be the device.
        """
        self._close_loop(stays=self._epoch_bar is None)
        self._close_epoch(stays=True)
        self._due = NEVER

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Finish the line of the last epoch, and begin the bar of this one."""
        if not self._shows:
            return
        self._finish_epoch(trainer, pl_module, stays=self.leave or not self._live)
        total, done = whole(self.total_train_batches), trainer.progress.batch
        self._epoch_bar = self._open(Place("train", self.train_description, total, done=done))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw, if it is time."""
        if monotonic() >= self._due and (batch_idx + 1) % self.refresh_rate == 0:
            self._draw_epoch(trainer, pl_module, batch_idx + 1)
            self._due = monotonic() + self.refresh_seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw the whole epoch."""
        self._draw_epoch(trainer, pl_module, trainer.progress.batch)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Finish the line of the last epoch."""
        self._finish_epoch(trainer, pl_module, stays=True)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a bar, below the one of the epoch."""
        self._draw_epoch(trainer, pl_module, trainer.progress.batch)
        if trainer.sanity_checking:
            self._start_loop("sanity", self.sanity_check_description, self.total_val_batches)
        else:
            self._start_loop("validation", self.validation_description, self.total_val_batches)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw, if it is time."""
        self._advance_loop()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Take the bar away if it was one of a fit, and show what was logged."""
        alone = trainer.validating and self._epoch_bar is None
        self._close_loop(stays=alone)
        self._draw_epoch(trainer, pl_module, trainer.progress.batch)
        self._show_results(trainer, title="Validation metric")

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a bar."""
        self._start_loop("test", self.test_description, sum(trainer.num_test_batches))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw, if it is time."""
        self._advance_loop()

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Finish the bar, and show what was logged."""
        self._close_loop(stays=True)
        self._show_results(trainer, title="Test metric")

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a bar."""
        self._start_loop("predict", self.predict_description, sum(trainer.num_predict_batches))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw, if it is time."""
        self._advance_loop()

    def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Finish the bar."""
        self._close_loop(stays=True)

    def _open(self, place: Place) -> Bar:
        return self.open_bar(place) if self._live else PlainLine(place)

    def _draw_epoch(self, trainer: Trainer, pl_module: Any, done: int) -> None:
        if self._epoch_bar is not None:
            metrics = self.get_metrics(trainer, pl_module) if self._live else None
            self._epoch_bar.draw(done, metrics)

    def _finish_epoch(self, trainer: Trainer, pl_module: Any, *, stays: bool) -> None:
        """Take in what was logged after the epoch was drawn, and close its bar."""
        if self._epoch_bar is not None:
            metrics = without_repeats(self.get_metrics(trainer, pl_module))
            self._close_epoch(metrics, stays=stays)

    def _close_epoch(self, metrics: dict[str, Any] | None = None, *, stays: bool) -> None:
        if self._epoch_bar is not None:
            self._epoch_bar.finish(metrics, stays=stays)
            self._epoch_bar = None

    def _start_loop(self, kind: Kind, description: str, batches: float) -> None:
        if self._shows:
            self._done = 0
            below = int(self._epoch_bar is not None)
            self._loop_bar = self._open(Place(kind, description, whole(batches), line=below))

    def _advance_loop(self) -> None:
        """Count a batch of any loader, and draw, if it is time."""
        self._done += 1
        if monotonic() >= self._due and self._done % self.refresh_rate == 0:
            self._draw_loop()
            self._due = monotonic() + self.refresh_seconds

    def _draw_loop(self) -> None:
        if self._loop_bar is not None:
            self._loop_bar.draw(self._done)

    def _close_loop(self, *, stays: bool) -> None:
        self._draw_loop()
        if self._loop_bar is not None:
            self._loop_bar.finish(stays=stays)
            self._loop_bar = None

    def _show_results(self, trainer: Trainer, *, title: str) -> None:
        metrics = trainer.callback_metrics if trainer.verbose else {}
        if metrics and trainer.is_global_zero:
            rule = "─" if can_encode("─", sys.stdout) else "-"
            self.write(result_table(metrics, title=title, rule=rule) + "\n", sys.stdout)


def check_not_negative(name: str, value: float) -> None:
    """Refuse a negative number.

    Raises:
        ValueError: it is one.
    """
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0. Received {name}={value!r}.")


def can_encode(character: str, stream: Any) -> bool:
    """Return whether a stream can show a character."""
    try:
        character.encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def whole(batches: float) -> int | None:
    """Return a number of batches, None where it is not known."""
    return None if math.isinf(batches) else int(batches)
