"""TQDMProgressBar: how far a run is, on the terminal."""

import math
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, final

from lt_callbacks import extras
from lt_callbacks.result_table import result_table
from lt_loop import Callback, Trainer

if TYPE_CHECKING:
    from lt_callbacks.terminal_bar import TerminalBar

NEVER = math.inf


@final
class TQDMProgressBar(Callback):
    """Draws a bar for each epoch, and one below it for each validation loop.

    It shows the values logged with ``prog_bar=True``, which is the only thing it waits for the
    device for. It is drawn by time: a batch between two drawings costs one look at the clock. Where
    standard error is no terminal nothing is drawn at all. The results of ``test`` and ``validate``
    are written to standard output as a table unless they were called with ``verbose=False``, on a
    terminal or not. Rank 0 only.

    Args:
        refresh_rate: draw only after multiples of this many batches; 0 to draw nothing.
        process_position: how many pairs of lines to leave free above, for bars of your own.
        leave: whether the bar of each epoch stays on the screen.
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
        leave: bool = False,
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
        self._before: list[int] = [0]

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """See whether there is somebody to draw for."""
        _terminal()  # import it now, not an hour in
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._draws = terminal and self.refresh_rate > 0 and trainer.is_global_zero
        self._due = -NEVER if self._draws else NEVER

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Leave the terminal as it should be: also after an exception."""
        self._close_loop()
        self._close_epoch()
        self._due = NEVER

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin the bar of this epoch."""
        if not self._draws:
            return
        epochs, total = trainer.max_epochs, _whole(trainer.num_training_batches)
        of = "" if epochs is None else f"/{epochs}"
        description = f"Epoch {trainer.current_epoch + 1}{of}"
        if self._epoch_bar is None:
            self._epoch_bar = self._open(description, total, line=0, stays=True)
        self._epoch_bar.restart(description, total=total, done=trainer.progress.batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw, if it is time."""
        if monotonic() >= self._due:
            self._draw_epoch(trainer, batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw the whole epoch, with the values logged at its end."""
        if self._epoch_bar is not None:
            self._epoch_bar.draw(trainer.progress.batch, trainer.progress_bar_metrics)
        if self.leave:
            self._close_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave the bar of the last epoch on the screen."""
        self._close_epoch()

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a bar, below the one of the epoch."""
        trial = trainer.sanity_checking
        totals = trainer.num_sanity_val_batches if trial else trainer.num_val_batches
        if self._epoch_bar is not None:
            self._epoch_bar.draw(trainer.progress.batch)
        alone = not trial and self._epoch_bar is None
        self._start_loop("Sanity check" if trial else "Validation", totals, stays=alone)

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
        if monotonic() >= self._due:
            self._draw_loop(batch_idx + 1, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Take the bar away, and show what was logged."""
        self._end_loop(trainer, title="Validation metric")
        if self._epoch_bar is not None:
            self._epoch_bar.draw(trainer.progress.batch, trainer.progress_bar_metrics)

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a bar."""
        self._start_loop("Testing", trainer.num_test_batches, stays=True)

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
        if monotonic() >= self._due:
            self._draw_loop(batch_idx + 1, dataloader_idx)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Finish the bar, and show what was logged."""
        self._end_loop(trainer, title="Test metric")

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a bar."""
        self._start_loop("Predicting", trainer.num_predict_batches, stays=True)

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
        if monotonic() >= self._due:
            self._draw_loop(batch_idx + 1, dataloader_idx)

    def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Finish the bar."""
        self._finish_loop()

    def _open(
        self, description: str, total: int | None, *, line: int, stays: bool
    ) -> "TerminalBar":
        made: TerminalBar = _terminal().TerminalBar(
            description, total=total, line=self._line + line, stays=stays
        )
        return made

    def _draw_epoch(self, trainer: Trainer, done: int) -> None:
        if self._epoch_bar is not None and done % self.refresh_rate == 0:
            self._epoch_bar.draw(done, trainer.progress_bar_metrics)
            self._due = monotonic() + self.refresh_seconds

    def _start_loop(self, description: str, batches: list[float], *, stays: bool) -> None:
        if not self._draws:
            return
        totals = [_whole(count) for count in batches]
        known = [total for total in totals if total is not None]
        self._before = [sum(known[:index]) for index in range(len(totals))]
        total = sum(known) if len(known) == len(totals) else None
        below = int(self._epoch_bar is not None)
        self._loop_bar = self._open(description, total, line=below, stays=stays)

    def _draw_loop(self, done: int, dataloader_idx: int) -> None:
        if self._loop_bar is not None and done % self.refresh_rate == 0:
            self._loop_bar.draw(self._before[dataloader_idx] + done)
            self._due = monotonic() + self.refresh_seconds

    def _end_loop(self, trainer: Trainer, *, title: str) -> None:
        self._finish_loop()
        metrics = trainer.callback_metrics if trainer.verbose else {}
        if metrics and trainer.is_global_zero:
            rule = "─" if _terminal().can_encode("─", sys.stdout) else "-"
            _terminal().write(result_table(metrics, title=title, rule=rule))

    def _finish_loop(self) -> None:
        """Draw a loop that came to its end, and close its bar."""
        if self._loop_bar is not None and self._loop_bar.total is not None:
            self._loop_bar.draw(int(self._loop_bar.total))
        self._close_loop()

    def _close_loop(self) -> None:
        if self._loop_bar is not None:
            self._loop_bar.close()
            self._loop_bar = None

    def _close_epoch(self) -> None:
        if self._epoch_bar is not None:
            self._epoch_bar.close()
            self._epoch_bar = None


def _terminal() -> Any:
    return extras.load("lt_callbacks.terminal_bar", extra="tqdm", wanted_by="TQDMProgressBar")


def _whole(batches: float) -> int | None:
    return None if math.isinf(batches) else int(batches)
