"""ThroughputMonitor: how fast a loop is, and what holds it up."""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, final

from lt_callbacks.device_of import device_of
from lt_callbacks.throughput import HostClock, Throughput
from lt_loop import Callback, Trainer


@final
class ThroughputMonitor(Callback):
    """Logs batches and samples per second, and with them what they are worth.

    The names begin with the stage (``train``, ``validate``, ``test``, ``predict``). In total:
    ``train/time`` (seconds), ``train/batches``, ``train/samples``, ``train/lengths``. Over the
    newest ``window_size`` batches, once there are so many: ``train/device/batches_per_sec``,
    ``.../samples_per_sec``, ``.../items_per_sec``, ``.../flops_per_sec``, ``.../mfu`` (the share
    of the device's peak that is used) and ``.../data_wait`` (the share of the time that passed
    between two steps: waiting for the next batch, moving it, logging). With several processes,
    the first four also without ``device/``, for all of them together: it is assumed that they do
    the same.

    On a CUDA device time is that of the device's stream, noted without waiting; only a step that
    is logged (``log_every_n_steps``) waits, for itself. Validation within a fit stops the clock of
    training; each validation is measured anew.

    ``flops_per_sec`` and ``mfu`` need an attribute or property ``flops_per_batch`` of the module:
    the operations of a batch on one device, with backward; see
    :func:`lt_callbacks.flops.measure_flops`. ``mfu`` needs the device's peak, too, which is known
    for those in :mod:`lt_callbacks.peak_flops`.

    Args:
        batch_size_fn: from a batch to its number of samples.
        length_fn: from a batch to its number of items, such as tokens.
        window_size: batches of the window, at least 2.
        separator: what stands between the parts of a name.
        available_flops: operations per second of one device; None to look it up.
        clock: returns seconds; instead of the host's and the device's, for tests.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        batch_size_fn: Callable[[Any], int],
        length_fn: Callable[[Any], int] | None = None,
        *,
        window_size: int = 100,
        separator: str = "/",
        available_flops: float | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.batch_size_fn, self.length_fn = batch_size_fn, length_fn
        self.available_flops, self.separator = available_flops, separator
        self._window, self._clock = window_size, clock
        self._read = clock or time.perf_counter
        self._loops: dict[str, Throughput] = {}
        self._peak: float | None = None
        self._finished_at = 0.0
        self._steps = 0
        self._new()  # check the arguments

    def _new(self, device: Any = None, world_size: int = 1) -> Throughput:
        on_cuda = self._clock is None and getattr(device, "type", None) == "cuda"
        return Throughput(
            import_module("lt_callbacks.device_clock").DeviceClock(device)
            if on_cuda
            else HostClock(self._read),
            window_size=self._window,
            available_flops=self._peak if self.available_flops is None else self.available_flops,
            world_size=world_size,
            separator=self.separator,
        )

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Forget the last run."""
        self._loops.clear()
        self._peak = None

    def _start(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        device = device_of(pl_module)
        if getattr(device, "type", None) == "cuda" and self.available_flops is None:
            peak = import_module("lt_callbacks.device_peak").device_peak
            self._peak = peak(device, trainer.precision, pl_module)
        self._loops[stage] = self._new(device, trainer.world_size)
        self._finished_at = self._read()
        self._steps = trainer.global_step

    def _begin(self, stage: str) -> None:
        """Note that the batch is here."""
        self._loops[stage].wait(self._read() - self._finished_at)

    def _count(self, pl_module: Any, batch: Any, stage: str) -> Throughput:
        loop = self._loops[stage]
        loop.lap(
            self.batch_size_fn(batch),
            length=None if self.length_fn is None else self.length_fn(batch),
            flops=getattr(pl_module, "flops_per_batch", None),
        )
        self._finished_at = self._read()
        return loop

    def _named(self, loop: Throughput, stage: str) -> dict[str, float]:
        return {f"{stage}{self.separator}{k}": float(v) for k, v in loop.compute().items()}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._start(trainer, pl_module, "train")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the wait for data."""
        self._begin("train")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch, and log if its step is logged."""
        loop, steps = self._count(pl_module, batch, "train"), trainer.global_step
        if steps != self._steps:  # else its step has not been taken yet
            self._steps = steps
            if steps % trainer.limits.log_every_n_steps == 0:
                for name, value in self._named(loop, "train").items():
                    trainer.log(name, value, on_step=True, on_epoch=False)
                self._finished_at = self._read()

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock, and stop that of training."""
        if "train" in self._loops:
            self._loops["train"].pause()
        self._start(trainer, pl_module, "validate")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Let the clock of training go on."""
        if "train" in self._loops:
            self._loops["train"].resume()
            self._finished_at = self._read()

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._start(trainer, pl_module, "test")

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._start(trainer, pl_module, "predict")

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count the wait for data."""
        self._begin("validate")

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count the wait for data."""
        self._begin("test")

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count the wait for data."""
        self._begin("predict")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch, and log every ``log_every_n_steps`` of them."""
        self._evaluated(trainer, pl_module, batch, "validate")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch, and log every ``log_every_n_steps`` of them."""
        self._evaluated(trainer, pl_module, batch, "test")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch, and log every ``log_every_n_steps`` of them."""
        self._evaluated(trainer, pl_module, batch, "predict")

    def _evaluated(self, trainer: Trainer, pl_module: Any, batch: Any, stage: str) -> None:
        loop = self._count(pl_module, batch, stage)
        if loop.batches % trainer.limits.log_every_n_steps:
            return
        values = self._named(loop, stage)
        if stage != "predict":
            for name, value in values.items():
                trainer.log(name, value, on_step=True, on_epoch=False)
        elif trainer.is_global_zero:  # there is no logging in predict but to the loggers themselves
            for logger in trainer.loggers:
                logger.on_log({**values, "epoch": trainer.current_epoch}, loop.batches)
        self._finished_at = self._read()
