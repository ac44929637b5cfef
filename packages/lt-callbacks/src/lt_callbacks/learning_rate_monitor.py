"""LearningRateMonitor: what the learning rates are, in the log."""

import logging
from typing import Any, Literal, final

from lt_callbacks.optimizer_names import NamedOptimizer, named_optimizers
from lt_callbacks.spelling import suggestion
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")

INTERVALS = ("step", "epoch")


@final
class LearningRateMonitor(Callback):
    """Logs the learning rate of each parameter group, as the steps use it.

    Names are Lightning's: ``lr-Adam``, ``lr-Adam-1`` for a second one, ``lr-Adam/pg1`` and so on
    where there are several parameter groups. A schedule's ``name`` takes the place of ``lr-Adam``,
    a group's key ``name`` that of ``pg1``.

    Values logged by steps stand at the steps that are logged (``log_every_n_steps``); those
    logged by epochs, as all values of an epoch, at its last step. Optimizers without a schedule
    are logged if ``logging_interval`` is given, and with None too, by steps.

    Args:
        logging_interval: ``"step"`` or ``"epoch"`` for all optimizers alike; None for each as its
            schedule is stepped.
        log_momentum: whether ``<name>-momentum`` is logged too: ``momentum``, or the first of
            ``betas``; 0 where an optimizer has neither.
        log_weight_decay: whether ``<name>-weight_decay`` is logged too.

    Attributes:
        lrs: by name, the learning rates logged so far in this fit.
        last_momentum_values: by name, the newest momentum; empty unless it is logged.
        last_weight_decay_values: by name, the newest weight decay; empty unless it is logged.

    Raises:
        ValueError: there is no such interval, or, when a run starts, nobody to log to.
    """

    def __init__(
        self,
        logging_interval: Literal["step", "epoch"] | None = None,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
    ) -> None:
        if logging_interval is not None and logging_interval not in INTERVALS:
            raise ValueError(
                "logging_interval is 'step', 'epoch' or None. Received "
                f"logging_interval={logging_interval!r}.{suggestion(logging_interval, INTERVALS)}"
            )
        self.logging_interval = logging_interval
        self.log_momentum, self.log_weight_decay = log_momentum, log_weight_decay
        self._forget()

    def _forget(self) -> None:
        self.lrs: dict[str, list[Any]] = {}
        self.last_momentum_values: dict[str, Any] = {}
        self.last_weight_decay_values: dict[str, Any] = {}
        self._named: list[NamedOptimizer] = []
        self._groups: list[int] = []

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew, and see whether there is a logger."""
        if stage != "fit":
            return
        if not (trainer.loggers or trainer.fast_dev_run or trainer.barebones):
            raise ValueError(
                "LearningRateMonitor writes to loggers. Received a Trainer without one. Pass "
                "logger=..., or leave the callback out."
            )
        self._forget()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Find the names."""
        self._find(trainer)
        self.lrs = {name: [] for one in self._named for name in one.names}
        defaults = [getattr(one.optimizer, "defaults", {}) for one in self._named]
        if self.log_momentum and not all("momentum" in d or "betas" in d for d in defaults):
            log.warning(
                "LearningRateMonitor: some optimizers have no momentum, which is logged as 0."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Log what is logged by epochs."""
        if self.logging_interval != "step":
            for name, value in self._values(trainer, "epoch").items():
                trainer.log(name, value, on_step=False, on_epoch=True)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log what is logged by steps, if this one is."""
        if self.logging_interval == "epoch":
            return
        if (trainer.global_step + 1) % trainer.limits.log_every_n_steps == 0:
            for name, value in self._values(trainer, "step").items():
                trainer.log(name, value, on_step=True, on_epoch=False)

    def _find(self, trainer: Trainer) -> None:
        self._named = named_optimizers(trainer.lr_scheduler_configs, trainer.optimizers)
        self._groups = [len(one.optimizer.param_groups) for one in self._named]

    def _values(self, trainer: Trainer, interval: str) -> dict[str, Any]:
        if self._groups != [len(one.optimizer.param_groups) for one in self._named]:
            self._find(trainer)  # a callback that unfreezes layers adds groups
        found: dict[str, Any] = {}
        for one in self._named:
            if self.logging_interval is None and (one.interval or "step") != interval:
                continue
            for name, group in zip(one.names, one.optimizer.param_groups, strict=True):
                rate = found[name] = _as_it_is_now(group["lr"])
                self.lrs.setdefault(name, []).append(rate)
                if self.log_momentum:
                    momentum = _as_it_is_now(group.get("betas", (group.get("momentum", 0),))[0])
                    key = f"{name}-momentum"
                    found[key] = self.last_momentum_values[key] = momentum
                if self.log_weight_decay:
                    decay = _as_it_is_now(group.get("weight_decay", 0))
                    key = f"{name}-weight_decay"
                    found[key] = self.last_weight_decay_values[key] = decay
        return found


def _as_it_is_now(value: Any) -> Any:
    """Return a number, or a copy of a tensor: schedulers change learning rates of tensors in place.

    A tensor is not waited for.
    """
    copied = getattr(value, "clone", None)
    return float(value) if copied is None else copied()
