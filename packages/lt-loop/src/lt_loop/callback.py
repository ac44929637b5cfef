"""Callback: the non-essential, in Lightning's hooks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lt_loop.hooks import library_default
from lt_loop.limits import Limits

if TYPE_CHECKING:
    from lt_loop.trainer import Trainer


class Callback:
    """What belongs to a run but not to the experiment: loggers, early stopping, progress bars.

    Override what you need; a hook nobody overrides is never called. Hooks have Lightning's names,
    arguments and order, and run in the order in which the callbacks were given, before the
    program's own. Callbacks read the run and ask: ``trainer.stop("reason")``.
    """

    role: ClassVar[str] = ""
    """What a run has one of, if anything: ``"progress_bar"``, ``"early_stopping"``, ..."""

    monitors: ClassVar[bool] = False
    """Whether it looks at logged values: then its ``on_train_epoch_end`` comes after the program's,
    and sees what that logged."""

    signals: tuple[str, ...] = ()
    """Names of signals that shall end a run at a safe point beside SIGINT and SIGTERM."""

    grace_seconds: float | None = None
    """How long after a signal the run may take to end; then the process ends at once."""

    _logs_to: "Trainer | None" = None

    def attach(self, trainer: "Trainer | None") -> "Trainer | None":
        """Let :meth:`log` reach a trainer, None for nobody; return the one before.

        The engine does so at the start of a run, and undoes it at its end.
        """
        before, self._logs_to = self._logs_to, trainer
        return before

    @library_default
    def plan_limits(self, limits: Limits) -> Limits:
        """Return the limits of the run that is being planned: these, or others made of them."""
        return limits

    def resolve(self, which: str) -> str | None:
        """Return the path of the ``"last"`` or ``"best"`` checkpoint, if this callback keeps any.

        Those with the role ``"checkpoint"`` are asked, when a run is planned with
        ``ckpt_path="last"`` or ``"best"``.
        """
        return None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled and copied: all but the trainer."""
        return {name: value for name, value in self.__dict__.items() if name != "_logs_to"}

    def log(self, name: str, value: Any, *flags: Any, **more: Any) -> None:
        """Log a value, with the flags of :meth:`lt_loop.Trainer.log`; outside a run, do nothing."""
        if self._logs_to is not None:
            self._logs_to.log(name, value, *flags, **more)

    def log_dict(self, dictionary: Mapping[str, Any], *flags: Any, **more: Any) -> None:
        """Log several values with the same flags."""
        for name, value in dictionary.items():
            self.log(name, value, *flags, **more)

    @property
    def state_key(self) -> str:
        """The name under which this callback's state stands in a checkpoint.

        Give several instances of one class different keys.
        """
        return type(self).__qualname__

    @library_default
    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a resume: tensors and JSON types."""
        return {}

    @library_default
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned."""

    @library_default
    def on_log(self, metrics: dict[str, float], step: int) -> None:
        """Receive logged numbers; a callback with this method is a logger. Rank 0 only.

        Args:
            metrics: name to number, and the ``epoch``.
            step: the index of the optimizer step, from 0.
        """

    @library_default
    def setup(self, trainer: "Trainer", pl_module: Any, stage: str) -> None:
        """Called first in every run; ``stage``: ``fit``, ``validate``, ``test``, ``predict``."""

    @library_default
    def teardown(self, trainer: "Trainer", pl_module: Any, stage: str) -> None:
        """Called last, once, if :meth:`setup` was: also after an exception. Close files here."""

    @library_default
    def on_exception(self, trainer: "Trainer", pl_module: Any, exception: BaseException) -> None:
        """Called when the run ends by an exception, before the teardown."""

    @library_default
    def on_fit_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called when ``fit`` begins, after the optimizers were made."""

    @library_default
    def on_fit_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called when ``fit`` ends well."""

    @library_default
    def on_sanity_check_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before the validation code is tried out on a few batches."""

    @library_default
    def on_sanity_check_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after the validation code was tried out."""

    @library_default
    def on_train_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before the first training epoch."""

    @library_default
    def on_train_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after the last training epoch."""

    @library_default
    def on_train_epoch_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before the first batch of a training epoch."""

    @library_default
    def on_train_epoch_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after the last batch of a training epoch and the validation in it."""

    @library_default
    def on_train_batch_start(
        self, trainer: "Trainer", pl_module: Any, batch: Any, batch_idx: int
    ) -> int | None:
        """Called before a training batch; return -1 to skip the rest of the epoch."""

    @library_default
    def on_train_batch_end(
        self, trainer: "Trainer", pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Called after a training batch, and after the optimizer step if it closed a window.

        Args:
            trainer: the trainer.
            pl_module: the program.
            outputs: what ``training_step`` returned, detached, as a dict with ``"loss"``.
            batch: the batch, where the program computes.
            batch_idx: its index in the epoch.
        """

    @library_default
    def on_safe_point(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after each optimizer step with nothing half done, where a state can be captured.

        That of the last step of an epoch comes after the end of the epoch, validation included.
        """

    @library_default
    def on_validation_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before a validation loop, with the program in evaluation mode."""

    @library_default
    def on_validation_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after a validation loop; its metrics can be read."""

    @library_default
    def on_test_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before a test loop, with the program in evaluation mode."""

    @library_default
    def on_test_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after a test loop; its metrics can be read."""

    @library_default
    def on_predict_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before a predict loop, with the program in evaluation mode."""

    @library_default
    def on_predict_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after a predict loop."""

    @library_default
    def on_validation_epoch_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before the first validation batch."""

    @library_default
    def on_validation_epoch_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after the last validation batch."""

    @library_default
    def on_validation_batch_start(
        self,
        trainer: "Trainer",
        pl_module: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called before a validation batch."""

    @library_default
    def on_validation_batch_end(
        self,
        trainer: "Trainer",
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called after a validation batch, with what the step returned."""

    @library_default
    def on_test_epoch_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before the first test batch."""

    @library_default
    def on_test_epoch_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after the last test batch."""

    @library_default
    def on_test_batch_start(
        self,
        trainer: "Trainer",
        pl_module: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called before a test batch."""

    @library_default
    def on_test_batch_end(
        self,
        trainer: "Trainer",
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called after a test batch, with what the step returned."""

    @library_default
    def on_predict_epoch_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called before the first predict batch."""

    @library_default
    def on_predict_epoch_end(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after the last predict batch."""

    @library_default
    def on_predict_batch_start(
        self,
        trainer: "Trainer",
        pl_module: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called before a predict batch."""

    @library_default
    def on_predict_batch_end(
        self,
        trainer: "Trainer",
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Called after a predict batch, with what the step returned."""

    @library_default
    def on_before_zero_grad(self, trainer: "Trainer", pl_module: Any, optimizer: Any) -> None:
        """Called before the gradients of the last window are dropped."""

    @library_default
    def on_before_backward(self, trainer: "Trainer", pl_module: Any, loss: Any) -> None:
        """Called before the gradients of a batch are computed."""

    @library_default
    def on_after_backward(self, trainer: "Trainer", pl_module: Any) -> None:
        """Called after the gradients of a batch were added up; they may be scaled."""

    @library_default
    def on_before_optimizer_step(self, trainer: "Trainer", pl_module: Any, optimizer: Any) -> None:
        """Called before an optimizer step, and before its gradients are clipped."""

    @library_default
    def on_save_checkpoint(
        self, trainer: "Trainer", pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Called with the state about to be saved, to add to it."""

    @library_default
    def on_load_checkpoint(
        self, trainer: "Trainer", pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Called with the state about to be restored."""
