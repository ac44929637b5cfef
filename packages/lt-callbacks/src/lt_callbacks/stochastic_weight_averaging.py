"""StochasticWeightAveraging: an average over the last epochs, at a learning rate of its own."""

import logging
import math
from collections.abc import Callable
from typing import Any, Literal, final

from lt_callbacks import extras
from lt_callbacks.resting_scheduler import RestingScheduler
from lt_callbacks.spelling import suggestion
from lt_callbacks.trial import Borrowed, beside, check_readable_again, copied, untraced
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")


@final
class StochasticWeightAveraging(Callback):
    """Averages the weights with which the last epochs begin, and leaves the average in the module.

    From the first of these epochs on the learning rate goes from what it is to ``swa_lrs``, by
    torch's ``SWALR``, and a schedule of the module's own rests. The average is taken at the start
    of each epoch, as in Lightning, so what the last epoch does is not in it; validation looks at
    the weights in training.

    When training is over, the average takes the place of the weights. A module with batch
    normalization then sees one epoch of training batches more, without learning from them, which
    makes the statistics those of the new weights.

    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (2018).
    Every rank averages for itself; each sees its own share of the batches for the statistics.

    Args:
        swa_lrs: the learning rate to go to, or one for each parameter group.
        swa_epoch_start: the number of the first epoch averaged, from 1; or a share of the epochs.
        annealing_epochs: epochs that the learning rate takes to get there; 0 for none.
        annealing_strategy: on a cosine (``"cos"``) or a line (``"linear"``).
        avg_fn: takes average, new value and how many are averaged already, as tensors, and returns
            the new average; None for their mean.
        device: where the average is kept; None for where the module is.

    Attributes:
        n_averaged: how many weights are in the average.

    Raises:
        ModuleNotFoundError: torch is not installed.
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        swa_lrs: float | list[float],
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: Literal["cos", "linear"] = "cos",
        avg_fn: Callable[[Any, Any, Any], Any] | None = None,
        device: Any = "cpu",
    ) -> None:
        extras.check("averaging", wanted_by="StochasticWeightAveraging")
        _check(swa_lrs, swa_epoch_start, annealing_epochs, annealing_strategy)
        if avg_fn is not None and not callable(avg_fn):
            raise TypeError(f"avg_fn is a function of three tensors. Received {avg_fn!r}.")
        self._swa_lrs, self._start = swa_lrs, swa_epoch_start
        self._annealing = {"anneal_epochs": annealing_epochs, "anneal_strategy": annealing_strategy}
        self._avg_fn, self._device = avg_fn or _mean, device
        self._forget()

    def _forget(self) -> None:
        self.n_averaged = 0
        self._latest_update_epoch = -1
        self._average: Any = None
        self._scheduler: Any = None
        self._saved: dict[str, Any] | None = None
        self._trained: dict[str, Any] | None = None
        self._start_number = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the average, how many are in it, and where its learning rate is."""
        return {
            "n_averaged": self.n_averaged,
            "latest_update_epoch": self._latest_update_epoch,
            "scheduler_state": None if self._scheduler is None else self._scheduler.state_dict(),
            "average_model_state": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state, once everything is there."""
        self._saved = state_dict

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew, if it is a fit.

        Raises:
            TypeError: the program is no ``nn.Module``.
            ValueError: the start is a share of an unknown number of epochs.
        """
        if stage != "fit":
            return
        self._forget()
        averaging = _averaging()
        if not isinstance(pl_module, averaging.nn.Module):
            raise TypeError(
                "StochasticWeightAveraging averages the weights of an nn.Module. "
                f"Received {type(pl_module).__name__}."
            )
        if isinstance(self._start, float) and trainer.max_epochs < 0:
            raise ValueError(
                "swa_epoch_start as a share needs a number of epochs. Received swa_epoch_start="
                f"{self._start} and a run without max_epochs. Give the number of an epoch."
            )

    @property
    def _first(self) -> int:
        """The index of the first epoch that begins with an average."""
        return max(self._start_number - 1, 0)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the weights in training, where the state is of a run that was over."""
        if trainer.state.fn == "fit":
            self._trained = checkpoint.get("current_model_state")

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Settle where to begin; in a run that goes on, take the average and its schedule back.

        Raises:
            ValueError: there is not exactly one optimizer, there are several schedules, or weights
                are sharded over ranks; or batch normalization meets manual optimization.
        """
        _check_run(trainer, pl_module, bool(_averaging().batch_norms(pl_module)))
        share = isinstance(self._start, float)
        self._start_number = int(trainer.max_epochs * self._start) if share else int(self._start)
        saved, self._saved = self._saved, None
        if saved is not None and saved["n_averaged"]:
            self.n_averaged = int(saved["n_averaged"])
            self._latest_update_epoch = int(saved["latest_update_epoch"])
            self._begin(trainer, pl_module)
            self._scheduler.load_state_dict(saved["scheduler_state"])
            _averaging().has_stepped(trainer.optimizers[0])
            self._average.load_state_dict(saved["average_model_state"])

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Go on from the weights in training, where the module was left with the average.

        Raises:
            TypeError: the statistics of batches need a second look at a loader that has one only.
        """
        trained, self._trained = self._trained, None
        if trained is not None:
            pl_module.load_state_dict(trained)
        if _averaging().batch_norms(pl_module):
            check_readable_again(trainer.train_dataloader)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take the weights in, unless a run goes on within this epoch."""
        epoch = trainer.current_epoch
        if epoch < self._first or epoch <= self._latest_update_epoch:
            return
        if self._average is None:
            self._begin(trainer, pl_module)
        else:
            self._scheduler.step()
        averages, values = self._average.parameters(), pl_module.parameters()
        _averaging().update_average(averages, values, self.n_averaged, self._avg_fn)
        self.n_averaged += 1
        self._latest_update_epoch = epoch

    def _begin(self, trainer: Trainer, pl_module: Any) -> None:
        averaging, (optimizer,) = _averaging(), trainer.optimizers
        self._average = copied(pl_module, trainer)
        self._average.to(
            getattr(pl_module, "device", None) if self._device is None else self._device
        )
        rates = self._swa_lrs
        rates = rates if isinstance(rates, list) else [rates] * len(optimizer.param_groups)
        self._scheduler = averaging.SWALR(optimizer, swa_lr=rates, **self._annealing)
        for schedule in trainer.lr_scheduler_configs:
            log.info("%s rests from here on", type(schedule.scheduler).__name__)
            schedule.scheduler = RestingScheduler(schedule.scheduler)
            schedule.reduce_on_plateau = False

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave the average in the module, with statistics of batches that fit it."""
        if not self.n_averaged:
            log.warning("training ended before epoch %d: nothing was averaged", self._first)
            return
        averaging = _averaging()
        like = self._average.state_dict()
        self._trained = averaging.copied_state(pl_module, like=like)
        averaging.copy_parameters(self._average, pl_module)
        if averaging.batch_norms(pl_module):
            loader = trainer.train_dataloader
            untraced(trainer, lambda: _see_batches(trainer, pl_module, loader), loader)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the weights in training beside the average, once that is in the module."""
        if self._trained is not None:
            checkpoint["current_model_state"] = dict(self._trained)


def _see_batches(trainer: Trainer, module: Any, loader: Any) -> None:
    """Take the statistics of batch normalization over an epoch, with a copy that learns nothing."""
    averaging, seeing = _averaging(), copied(module, trainer)
    seeing.automatic_optimization = False  # nobody steps, so nothing is learned
    seeing.configure_optimizers = lambda: averaging.idle_optimizer(seeing)
    other = beside(
        trainer, max_epochs=1, max_steps=-1, accumulate_grad_batches=1, gradient_clip_val=None
    )
    with averaging.statistics_anew(seeing):
        if trainer.datamodule is None:
            other.fit(seeing, loader)
        else:
            data = Borrowed(trainer.datamodule, train_dataloader=lambda: loader)
            other.fit(seeing, datamodule=data)
    averaging.copy_statistics(seeing, module)


def _mean(average: Any, value: Any, count: Any) -> Any:
    return average + (value - average) / (count + 1)


def _averaging() -> Any:
    return extras.load(
        "lt_callbacks.averaged_weights", extra="averaging", wanted_by="StochasticWeightAveraging"
    )


def _check(rates: Any, start: Any, epochs: Any, strategy: Any) -> None:
    given = rates if isinstance(rates, list) else [rates]
    if not given or not all(type(rate) in (int, float) for rate in given):
        raise TypeError(
            "swa_lrs is a learning rate, or a list of one for each parameter group. "
            f"Received swa_lrs={rates!r}."
        )
    if not all(0 < rate < math.inf for rate in given):
        raise ValueError(f"Learning rates are above 0. Received swa_lrs={rates!r}.")
    if type(start) not in (int, float):
        raise TypeError(
            "swa_epoch_start is the number of an epoch, or a share of them. "
            f"Received swa_epoch_start={start!r}."
        )
    if not (start >= 1 if type(start) is int else 0 <= start <= 1):
        raise ValueError(
            "swa_epoch_start is an int of at least 1 or a float from 0 to 1. "
            f"Received swa_epoch_start={start!r}."
        )
    if type(epochs) is not int or epochs < 0:
        raise ValueError(f"annealing_epochs is an int of at least 0. Received {epochs!r}.")
    if strategy not in ("cos", "linear"):
        raise ValueError(
            f"annealing_strategy is 'cos' or 'linear'. Received {strategy!r}."
            f"{suggestion(str(strategy), ['cos', 'linear'])}"
        )


def _check_run(trainer: Trainer, module: Any, normalizes: bool) -> None:
    name = "StochasticWeightAveraging"
    if len(trainer.optimizers) != 1 or len(trainer.lr_scheduler_configs) > 1:
        raise ValueError(
            f"{name} works with one optimizer and at most one schedule. Received "
            f"{len(trainer.optimizers)} and {len(trainer.lr_scheduler_configs)}."
        )
    if any(hasattr(one, "placements") for one in module.parameters()):
        raise ValueError(
            f"{name} averages whole weights. Received parameters that are sharded over ranks. "
            "Use another strategy, or average by hand."
        )
    if normalizes and not getattr(module, "automatic_optimization", True):
        raise ValueError(
            "The statistics of batch normalization are taken by training_step without learning. "
            "Received a module that steps its optimizers there itself. Average by hand, with "
            "torch.optim.swa_utils."
        )
