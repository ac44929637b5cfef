"""EarlyStopping: stop when a logged value has stopped improving."""

import logging
from typing import Any, ClassVar, Literal, final

from lt_callbacks.spelling import suggestion
from lt_callbacks.stopping_rule import EarlyStoppingReason, StoppingRule
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")


@final
class EarlyStopping(Callback):
    """Stops a fit when a logged value has stopped improving.

    It asks the trainer, which makes all ranks agree and stops at the next safe point that
    ``min_epochs`` and ``min_steps`` allow. Ranks may see different values unless they are logged
    with ``sync_dist=True``; one rank that asks is enough. Each fit starts with a fresh count; one
    that resumes goes on with the saved count, and the saved patience.

    Args:
        monitor: the name of a logged value.
        min_delta: a change of at most this much is no improvement.
        patience: checks in a row without improvement after which to stop. Where validation runs
            in every second epoch, patience 3 is six epochs.
        verbose: log every improvement, and the reason of the stop, at level INFO.
        mode: ``"min"`` where smaller is better, ``"max"`` where greater is.
        strict: raise an error when the value was not logged; else skip that check.
        check_finite: stop when the value is NaN or infinite.
        stopping_threshold: stop as soon as the value is better than this.
        divergence_threshold: stop as soon as the value is worse than this.
        check_on_train_epoch_end: check at the end of training epochs rather than of validation
            loops. None: so it is where validation runs once at the end of every epoch.
        log_rank_zero_only: whether other ranks than 0 log nothing.

    Attributes:
        stopped_epoch: the index of the epoch in which this callback asked to stop, 0 before that.
        stopping_reason: why it asked.
        stopping_reason_message: the same as a sentence, None before that.

    Raises:
        TypeError: the patience is no int.
        ValueError: the mode or the patience is out of its range.
    """

    role: ClassVar[str] = "early_stopping"
    monitors: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: Literal["min", "max"] = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        self.rule = StoppingRule(
            monitor=monitor,
            mode=mode,
            min_delta=min_delta,
            patience=patience,
            check_finite=check_finite,
            stopping_threshold=stopping_threshold,
            divergence_threshold=divergence_threshold,
        )
        self.verbose, self.strict = verbose, strict
        self.check_on_train_epoch_end = check_on_train_epoch_end
        self.log_rank_zero_only = log_rank_zero_only
        self._patience = patience
        self._at_train_epoch_end = self._at_validation_end = False
        self._forget()

    def _forget(self) -> None:
        self.rule.restart()
        self.rule.patience = self._patience
        self.stopped_epoch = 0
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self.stopping_reason_message: str | None = None

    @property
    def monitor(self) -> str:
        """The name of the value."""
        return self.rule.monitor

    @property
    def mode(self) -> Literal["min", "max"]:
        """Which way is better."""
        return self.rule.mode

    @property
    def patience(self) -> int:
        """Checks in a row without improvement after which to stop."""
        return self.rule.patience

    @property
    def best_score(self) -> float:
        """The best value so far; infinitely bad before the first."""
        return self.rule.best_score

    @property
    def wait_count(self) -> int:
        """Checks in a row without improvement so far."""
        return self.rule.wait_count

    @property
    def state_key(self) -> str:
        """The name of the state: two of these with other values or modes have two states."""
        identity = {"monitor": self.monitor, "mode": self.mode}
        return f"{type(self).__qualname__}{identity}"

    def state_dict(self) -> dict[str, Any]:
        """Return the count, under Lightning's names."""
        return {
            "wait_count": self.rule.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "best_score": self.rule.best_score,
            "patience": self.rule.patience,
            "stopping_reason": self.stopping_reason.value,
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved count."""
        self.rule.wait_count = int(state_dict["wait_count"])
        self.rule.best_score = float(state_dict["best_score"])
        self.rule.patience = int(state_dict["patience"])
        self.stopped_epoch = int(state_dict["stopped_epoch"])
        self.stopping_reason = EarlyStoppingReason(state_dict.get("stopping_reason", 0))
        self.stopping_reason_message = state_dict.get("stopping_reason_message")

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Settle when to check."""
        fitting, limits = stage == "fit", trainer.limits
        interval = limits.val_check_interval  # the int 1 is a batch, the float 1.0 an epoch
        whole_epoch = isinstance(interval, float) and interval == 1.0
        asked = self.check_on_train_epoch_end
        train = whole_epoch and limits.check_val_every_n_epoch == 1 if asked is None else asked
        self._at_train_epoch_end, self._at_validation_end = fitting and train, fitting and not train
        if fitting:
            self._forget()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Check, if this is the moment."""
        if self._at_train_epoch_end:
            self._check(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Check, if this is the moment."""
        if self._at_validation_end and not trainer.sanity_checking:
            self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # a few batches say nothing
            return
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            self._miss(metrics)
            return
        verdict = self.rule.judge(float(metrics[self.monitor]))
        if verdict.sentence is None:
            return
        if verdict.stop:
            self.stopped_epoch = trainer.current_epoch
            self.stopping_reason = verdict.reason
            self.stopping_reason_message = verdict.sentence
            trainer.stop(verdict.sentence)
        if self.verbose and (trainer.is_global_zero or not self.log_rank_zero_only):
            rank = f"[rank {trainer.global_rank}] " if trainer.world_size > 1 else ""
            log.info("%s%s", rank, verdict.sentence)

    def _miss(self, metrics: dict[str, Any]) -> None:
        message = (
            f"EarlyStopping monitors a logged value. Received monitor={self.monitor!r}, but what "
            f"was logged is {', '.join(metrics) or 'nothing'}."
            f"{suggestion(self.monitor, metrics)} Log it before the check, or set strict=False."
        )
        if self.strict:
            raise LookupError(message)
        if self.verbose:
            log.warning(message)
