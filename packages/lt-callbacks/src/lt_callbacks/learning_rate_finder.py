"""LearningRateFinder: try rising learning rates on a copy of the module, and take a good one."""

import logging
from typing import Any, Literal, final

from lt_callbacks.named_value import has_value, set_value
from lt_callbacks.range_test import LossCurve, LRFinder
from lt_callbacks.resting_scheduler import RestingScheduler
from lt_callbacks.trial import Borrowed, beside, check_readable_again, copied, untraced
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")

NAMES = ("lr", "learning_rate")


class LearningRateFinder(Callback):
    """Tries learning rates from ``min_lr`` to ``max_lr`` when a fit starts, and suggests one.

    The steps are taken by a copy of the module on the run's own batches. The module, its optimizer,
    the random generators and the order of the data are left as they were; only the learning rate
    is set, if asked for, and schedules that were made for another one follow it. A run that goes on
    from a state is left alone: it has its learning rate.

    All ranks take the steps together and take the suggestion of rank 0.

    To search at other times, subclass it, override :meth:`on_fit_start` and call :meth:`lr_find`
    in ``on_train_epoch_start``.

    Args:
        min_lr: the first learning rate.
        max_lr: the last one.
        num_training_steps: how many are tried, in optimizer steps.
        mode: whether they rise by a factor (``"exponential"``) or by a difference (``"linear"``).
        early_stop_threshold: stop when the smoothed loss is so many times its best, or when a loss
            is not finite; None to try all.
        update_attr: set the learning rate of the module and of the optimizers to the suggestion.
        attr_name: where the module or its ``hparams`` keep it; by default ``lr`` or
            ``learning_rate``.

    Attributes:
        optimal_lr: the curve, with ``suggestion()``, ``plot()`` and ``results``; None before the
            search.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training_steps: int = 100,
        mode: Literal["exponential", "linear"] = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        lowered: Any = mode.lower()
        self._plan = (lowered, min_lr, max_lr, num_training_steps)
        LRFinder(*self._plan)  # refuses what can't be
        self._threshold = early_stop_threshold
        self._update_attr, self._attr_name = update_attr, attr_name
        self._goes_on = False
        self.optimal_lr: LRFinder | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the curve."""
        return {} if self.optimal_lr is None else {"results": self.optimal_lr.results}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the curve of the run that is continued."""
        self.optimal_lr = LRFinder(*self._plan)
        self.optimal_lr.results = {
            name: [float(value) for value in state_dict["results"][name]] for name in ("lr", "loss")
        }

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check that there is something to set.

        Raises:
            AttributeError: there is not.
        """
        self._goes_on = False
        if stage == "fit" and self._update_attr:
            self._name_in(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Note that the run goes on."""
        self._goes_on = True

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Search, unless the run goes on from a state."""
        if not self._goes_on:
            self.lr_find(trainer, pl_module)

    def lr_find(self, trainer: Trainer, pl_module: Any) -> None:
        """Search now, and set the learning rate if asked for.

        Raises:
            ValueError: there is not exactly one optimizer.
            TypeError: the training loader can be read once.
        """
        if trainer.fast_dev_run:
            log.warning("LearningRateFinder does nothing in a fast_dev_run")
            return
        if len(trainer.optimizers) != 1:
            raise ValueError(
                "A learning rate is searched for one optimizer. "
                f"Received {len(trainer.optimizers)}. Drop the LearningRateFinder."
            )
        found = LRFinder(*self._plan)
        loader = _training_loader(trainer)
        check_readable_again(loader)
        untraced(trainer, lambda: _try(trainer, pl_module, loader, found, self._threshold), loader)
        if trainer.world_size > 1:
            found.results = trainer.ports.world.broadcast(found.results)
        self.optimal_lr = found
        rate = found.suggestion() if self._update_attr else None
        if rate is not None:
            name = self._name_in(trainer, pl_module)
            set_value(name, rate, (pl_module, trainer.datamodule))
            for optimizer in trainer.optimizers:
                _set_rate(optimizer, rate, [one.scheduler for one in trainer.lr_scheduler_configs])
            log.info("LearningRateFinder: %s=%.3g", name, rate)

    def _name_in(self, trainer: Trainer, pl_module: Any) -> str:
        owners = (pl_module, trainer.datamodule)
        for name in (self._attr_name,) if self._attr_name else NAMES:
            if has_value(name, owners):
                return name
        wanted = " or ".join(map(repr, (self._attr_name,) if self._attr_name else NAMES))
        raise AttributeError(
            "The learning rate found is set where the module or its hparams keep one. Received "
            f"{type(pl_module).__name__} without {wanted}. Keep it there, name it with "
            "attr_name='...', or set update_attr=False."
        )


@final
class _RangeTest(Callback):
    """Sets the learning rate of each step, and remembers its loss."""

    def __init__(self, found: LRFinder, threshold: float | None) -> None:
        self._found, self._curve = found, LossCurve(threshold)
        self._taken = 0

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        for schedule in trainer.lr_scheduler_configs:
            schedule.scheduler = RestingScheduler(schedule.scheduler)
            schedule.reduce_on_plateau = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self._found.lr(self._taken)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        taken = trainer.progress.steps + trainer.progress.skipped_steps
        if taken == self._taken or not outputs:
            return
        results = self._found.results
        results["lr"].append(self._found.lr(self._taken))
        results["loss"].append(self._curve.add(float(outputs["loss"])))
        self._taken = taken
        if self._curve.diverged:
            trainer.stop("the loss diverged")


def _try(
    trainer: Trainer, module: Any, loader: Any, found: LRFinder, threshold: float | None
) -> None:
    """Take the steps of a range test with a copy of the module."""
    other = beside(
        trainer, _RangeTest(found, threshold), max_epochs=-1, max_steps=found.num_training
    )
    tried = copied(module, trainer)
    if trainer.datamodule is None:
        other.fit(tried, loader)
    else:
        other.fit(tried, datamodule=Borrowed(trainer.datamodule, train_dataloader=lambda: loader))


def _training_loader(trainer: Trainer) -> Any:
    """Return the loader of the run under way, which is opened for it if it has not been yet."""
    if trainer.train_dataloader is None:
        _ = trainer.estimated_stepping_batches
    return trainer.train_dataloader


def _set_rate(optimizer: Any, rate: float, schedulers: list[Any]) -> None:
    """Set the learning rate, as if the optimizer and its schedules had been made with it."""
    for group in optimizer.param_groups:
        base = group.get("initial_lr")
        warmth = (
            1.0 if not base else group["lr"] / base
        )  # where a schedule begins with a part of it
        group["lr"] = rate * warmth
        if base is not None:
            group["initial_lr"] = rate
    for scheduler in schedulers:
        if hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs = [rate] * len(scheduler.base_lrs)
