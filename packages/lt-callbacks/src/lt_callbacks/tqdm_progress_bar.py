"""TQDMProgressBar: how far a run is, on the terminal."""

import math
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, final

from lt_callbacks import extras
from lt_callbacks.result_table import result_table, without_repeats
from lt_loop import Callback, Trainer

if TYPE_CHECKING:
    from lt_callbacks.terminal_bar import TerminalBar

NEVER = math.inf


@final
class TQDMProgressBar(Callback):
    """Draws a bar for each epoch, and one below it for each validation loop.

    It shows the values logged with ``prog_bar=True``, which is the only thing it waits for the
    device for. It is drawn by time: a batch between two drawings costs one look at the clock. Of an
    epoch that is over there stays one line, with the values logged in it. Where standard error is
    no terminal nothing is drawn at all. The results of ``test`` and ``validate`` are written to
    standard output as a table unless they were called with ``verbose=False``, on a terminal or not.
    Rank 0 only.

    Args:
        refresh_rate: draw only after multiples of this many batches; 0 to draw nothing.
        process_position: how many pairs of lines to leave free above, for bars of your own.
        leave: whether the line of each epoch stays on the screen (Lightning's default is False),
            or only that of the last one.
        refresh_seconds: draw at most this often.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
        ValueError: a number is negative.
    """

    role: ClassVar[str] = "progress_bar"

    def __init__(
        self,
        refresh_rate: int = 1,
        process_position: int = 0,
        leave: bool = True,
        *,
        refresh_seconds: float = 0.1,
    ) -> None:
        extras.check("tqdm", wanted_by="TQDMProgressBar")
        for name, value in (
            ("refresh_rate", refresh_rate),
            ("process_position", process_position),
            ("refresh_seconds", refresh_seconds),
        ):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0. Received {name}={value!r}.")
        self.refresh_rate, self.refresh_seconds = refresh_rate, refresh_seconds
        self.leave = leave
        self._line = 2 * process_position
        self._draws = False
        self._due = NEVER
        self._epoch_bar: TerminalBar | None = None
        self._loop_bar: TerminalBar | None = None
        self._done = 0

    def print(self, *args: Any, sep: str = " ", end: str = "\n", file: Any = None) -> None:
        """Print above the bar, where ``print`` alone would write into it."""
        _terminal().write(sep.join(map(str, args)), end=end, file=file)

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """See whether there is somebody to draw for."""
        _terminal()  # import it now, not an hour in
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._draws = terminal and self.refresh_rate > 0 and trainer.is_global_zero
        self._due = -NEVER if self._draws else NEVER

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Leave the terminal as it should be: also after an exception.

        Nothing is read any more: what failed may be the device.
        """
        self._close_loop(stays=self._epoch_bar is None)
        self._close_epoch(stays=True)
        self._due = NEVER

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Finish the line of the last epoch, and begin the bar of this one."""
        if not self._draws:
            return
        self._finish_epoch(trainer, stays=self.leave)
        of = "" if trainer.max_epochs == -1 else f"/{trainer.max_epochs}"
        self._epoch_bar = self._open(
            f"Epoch {trainer.current_epoch + 1}{of}",
            _whole(trainer.num_training_batches),
            done=trainer.progress.batch,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw, if it is time."""
        if monotonic() >= self._due and (batch_idx + 1) % self.refresh_rate == 0:
            self._draw_epoch(trainer, batch_idx + 1)
            self._due = monotonic() + self.refresh_seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw the whole epoch."""
        self._draw_epoch(trainer, trainer.progress.batch)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Finish the line of the last epoch."""
        self._finish_epoch(trainer, stays=True)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a bar, below the one of the epoch."""
        self._draw_epoch(trainer, trainer.progress.batch)
        if trainer.sanity_checking:
            self._start_loop("Sanity check", trainer.num_sanity_val_batches)
        else:
            self._start_loop("Validation", trainer.num_val_batches)

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
        self._draw_epoch(trainer, trainer.progress.batch)
        self._show_results(trainer, title="Validation metric")

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a bar."""
        self._start_loop("Testing", trainer.num_test_batches)

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
        self._start_loop("Predicting", trainer.num_predict_batches)

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

    def _open(
        self, description: str, total: int | None, *, line: int = 0, done: int = 0
    ) -> "TerminalBar":
        made: TerminalBar = _terminal().TerminalBar(
            description, total=total, line=self._line + line, done=done
        )
        return made

    def _draw_epoch(self, trainer: Trainer, done: int) -> None:
        if self._epoch_bar is not None:
            self._epoch_bar.draw(done, trainer.progress_bar_metrics)

    def _finish_epoch(self, trainer: Trainer, *, stays: bool) -> None:
        """Take in what was logged after the epoch was drawn, and close its bar."""
        if self._epoch_bar is not None:
            self._close_epoch(without_repeats(trainer.progress_bar_metrics), stays=stays)

    def _close_epoch(self, metrics: dict[str, float] | None = None, *, stays: bool) -> None:
        if self._epoch_bar is not None:
            self._epoch_bar.finish(metrics, stays=stays)
            self._epoch_bar = None

    def _start_loop(self, description: str, batches: list[float]) -> None:
        if self._draws:
            self._done = 0
            below = int(self._epoch_bar is not None)
            self._loop_bar = self._open(description, _whole(sum(batches)), line=below)

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
            rule = "─" if _terminal().can_encode("─", sys.stdout) else "-"
            _terminal().write(result_table(metrics, title=title, rule=rule))


def _terminal() -> Any:
    return extras.load("lt_callbacks.terminal_bar", extra="tqdm", wanted_by="TQDMProgressBar")


def _whole(batches: float) -> int | None:
    return None if math.isinf(batches) else int(batches)
