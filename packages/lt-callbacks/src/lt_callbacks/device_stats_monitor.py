"""DeviceStatsMonitor: how full a device is and how busy the machine, in the log."""

import logging
from collections.abc import Collection
from importlib import import_module
from typing import Any, final

from lt_callbacks import extras
from lt_callbacks.device_of import device_of
from lt_callbacks.spelling import suggestion
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")


@final
class DeviceStatsMonitor(Callback):
    """Logs statistics before and after the batches whose step is logged (``log_every_n_steps``).

    Names are Lightning's: ``DeviceStatsMonitor.on_train_batch_end/cpu_percent``, likewise for
    validation and test, where every ``log_every_n_steps``-th batch is looked at. On CUDA they are
    those of ``torch.cuda.memory_stats``, in bytes or counts, for example
    ``allocated_bytes.all.peak``; of the machine ``cpu_percent``, ``cpu_vm_percent`` and
    ``cpu_swap_percent``. Nothing waits for the device. Each rank looks at its own device; rank 0's
    goes to the loggers.

    Args:
        cpu_stats: log the machine's too; None to do so where the device has none of its own, as
            the CPU.
        filter_keys: the only ones to log, without what stands before them; None for all.

    Raises:
        ModuleNotFoundError: psutil is needed and not installed, also when a run starts.
        TypeError: the filter is no collection of strings.
        ValueError: when a run starts, there is nobody to log to.
    """

    def __init__(
        self, cpu_stats: bool | None = None, filter_keys: Collection[str] | None = None
    ) -> None:
        if cpu_stats:
            extras.check("psutil", wanted_by="DeviceStatsMonitor")
        if isinstance(filter_keys, str):
            raise TypeError(
                "filter_keys is a set of names. Received the string "
                f"{filter_keys!r}. Pass {{{filter_keys!r}}}."
            )
        self.cpu_stats = cpu_stats
        self.filter_keys = None if filter_keys is None else frozenset(filter_keys)
        self._device: Any = None
        self._of_machine = False
        self._due = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """See whether there is a logger."""
        if stage == "fit" and not (trainer.loggers or trainer.fast_dev_run or trainer.barebones):
            raise ValueError(
                "DeviceStatsMonitor writes to loggers. Received a Trainer without one. Pass "
                "logger=..., or leave the callback out."
            )

    def _find(self, pl_module: Any) -> None:
        """Settle what to look at, now that the module is where it computes."""
        device = device_of(pl_module)
        self._device = None if getattr(device, "type", "cpu") == "cpu" else device
        has_own = bool(self._device is not None and self._statistics_of_device())
        self._of_machine = not has_own if self.cpu_stats is None else self.cpu_stats
        if self._of_machine:
            extras.check("psutil", wanted_by="DeviceStatsMonitor")
        unknown = (self.filter_keys or frozenset()) - (known := self._statistics().keys())
        for key in sorted(unknown):
            log.warning(
                "DeviceStatsMonitor: there is nothing called %r to log.%s",
                key,
                suggestion(key, known),
            )

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Settle what to look at."""
        self._find(pl_module)

    def _statistics_of_device(self) -> dict[str, Any]:
        module = import_module("lt_callbacks.device_statistics")
        return module.device_statistics(self._device)  # type: ignore[no-any-return]

    def _statistics(self) -> dict[str, Any]:
        found = {} if self._device is None else self._statistics_of_device()
        if self._of_machine:
            machine = extras.load(
                "lt_callbacks.cpu_statistics", extra="psutil", wanted_by="DeviceStatsMonitor"
            )
            found |= machine.cpu_statistics()
        return found

    def _log(self, trainer: Trainer, hook: str) -> None:
        for name, value in self._statistics().items():
            if self.filter_keys is None or name in self.filter_keys:
                full = f"DeviceStatsMonitor.{hook}/{name}"
                trainer.log(full, float(value), on_step=True, on_epoch=False, batch_size=1)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, if the step is logged."""
        self._due = (trainer.global_step + 1) % trainer.limits.log_every_n_steps == 0
        if self._due:
            self._log(trainer, "on_train_batch_start")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, if the step is logged."""
        if self._due:
            self._log(trainer, "on_train_batch_end")

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Settle what to look at, where that was not done for a fit."""
        if trainer.fitting is None:
            self._find(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Settle what to look at."""
        self._find(pl_module)

    def _log_evaluation(self, trainer: Trainer, hook: str, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.limits.log_every_n_steps == 0:
            self._log(trainer, hook)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log, if it is the time."""
        self._log_evaluation(trainer, "on_validation_batch_start", batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log, if it is the time."""
        self._log_evaluation(trainer, "on_validation_batch_end", batch_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log, if it is the time."""
        self._log_evaluation(trainer, "on_test_batch_start", batch_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log, if it is the time."""
        self._log_evaluation(trainer, "on_test_batch_end", batch_idx)
