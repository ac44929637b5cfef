"""Hooks about training and evaluation: what a module may do at each moment of a run."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lt_module.data_hooks import DataHooks
from lt_module.marking import library_default


class StepHooks(DataHooks):
    """Every step and hook of the lifecycle, as a documented no-op. Abstract: override some.

    Hooks named as in Lightning 2.x are here. Those of Lightning 1.0, which receive the outputs of
    an epoch (``training_epoch_end(outputs)``, ``validation_epoch_end(outputs)``,
    ``test_epoch_end(outputs)``) and ``*_step_end(output)``, work too: write them on your module.
    """

    @library_default
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Compute the loss of one batch.

        Args:
            batch: what the loader yielded, on the device.
            batch_idx: its index in the epoch.

        Returns:
            A scalar tensor, a dict that holds it under ``"loss"``, or None to skip the batch.
        """

    @library_default
    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one validation batch. With several loaders it takes ``dataloader_idx`` too."""

    @library_default
    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one test batch. With several loaders it takes ``dataloader_idx`` too."""

    @library_default
    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """Predict one batch: by default what calling the module with it returns."""
        return self(batch)  # type: ignore[operator]

    @library_default
    def configure_optimizers(self) -> Any:
        """Return the optimizer.

        Also read, as in Lightning: a list with one; ``([optimizer], [scheduler])``; a dict
        ``{"optimizer": ..., "lr_scheduler": scheduler}``, where the scheduler may be a dict with
        ``scheduler``, ``interval``, ``frequency``, ``monitor``, ``strict`` and ``name``.
        """

    @library_default
    def configure_model(self) -> None:
        """Make large layers here, shortly before they move to the device."""

    @library_default
    def configure_callbacks(self) -> Any:
        """Return callbacks, which replace the trainer's of the same type."""
        return []

    @library_default
    def on_fit_start(self) -> None:
        """Called at the start of ``fit``, after the optimizers were made."""

    @library_default
    def on_fit_end(self) -> None:
        """Called at the end of ``fit``, if it ended well."""

    @library_default
    def on_train_start(self) -> None:
        """Called at the start of training, after the sanity check."""

    @library_default
    def on_train_end(self) -> None:
        """Called at the end of training, if it ended well."""

    @library_default
    def on_validation_start(self) -> None:
        """Called before a validation loop, in evaluation mode."""

    @library_default
    def on_validation_end(self) -> None:
        """Called after a validation loop."""

    @library_default
    def on_test_start(self) -> None:
        """Called before a test loop, in evaluation mode."""

    @library_default
    def on_test_end(self) -> None:
        """Called after a test loop."""

    @library_default
    def on_predict_start(self) -> None:
        """Called before a predict loop, in evaluation mode."""

    @library_default
    def on_predict_end(self) -> None:
        """Called after a predict loop."""

    @library_default
    def on_train_epoch_start(self) -> None:
        """Called before the first batch of a training epoch."""

    @library_default
    def on_train_epoch_end(self) -> None:
        """Called after the last batch of a training epoch and the validation in it."""

    @library_default
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        """Called before a training batch; return -1 to skip the rest of the epoch."""

    @library_default
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Called after a training batch, and after the step if it closed a window."""

    @library_default
    def on_safe_point(self) -> None:
        """Called after each optimizer step with nothing half done; a state can be captured."""

    @library_default
    def on_validation_epoch_start(self) -> None:
        """Called before the first validation batch."""

    @library_default
    def on_validation_epoch_end(self) -> None:
        """Called after the last validation batch."""

    @library_default
    def on_validation_batch_start(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Called before a validation batch."""

    @library_default
    def on_validation_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Called after a validation batch, with what the step returned."""

    @library_default
    def on_test_epoch_start(self) -> None:
        """Called before the first test batch."""

    @library_default
    def on_test_epoch_end(self) -> None:
        """Called after the last test batch."""

    @library_default
    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called before a test batch."""

    @library_default
    def on_test_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Called after a test batch, with what the step returned."""

    @library_default
    def on_predict_epoch_start(self) -> None:
        """Called before the first predict batch."""

    @library_default
    def on_predict_epoch_end(self) -> None:
        """Called after the last predict batch."""

    @library_default
    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called before a predict batch."""

    @library_default
    def on_predict_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Called after a predict batch, with what the step returned."""

    @library_default
    def on_validation_model_eval(self) -> None:
        """Put the module into evaluation mode before a validation loop."""
        self.eval()  # type: ignore[attr-defined]

    @library_default
    def on_validation_model_train(self) -> None:
        """Undo it. Without an override each submodule gets back its mode."""
        self.train()  # type: ignore[attr-defined]

    @library_default
    def on_test_model_eval(self) -> None:
        """Put the module into evaluation mode before a test loop."""
        self.eval()  # type: ignore[attr-defined]

    @library_default
    def on_test_model_train(self) -> None:
        """Undo it. Without an override each submodule gets back its mode."""
        self.train()  # type: ignore[attr-defined]

    @library_default
    def on_predict_model_eval(self) -> None:
        """Put the module into evaluation mode before a predict loop."""
        self.eval()  # type: ignore[attr-defined]

    @library_default
    def on_predict_model_train(self) -> None:
        """Undo it. Without an override each submodule gets back its mode."""
        self.train()  # type: ignore[attr-defined]

    @library_default
    def on_validation_model_zero_grad(self) -> None:
        """Drop gradients before a validation loop inside training."""
        self.zero_grad()  # type: ignore[attr-defined]

    @library_default
    def on_before_zero_grad(self, optimizer: Any) -> None:
        """Called before the gradients of the last window are dropped."""

    @library_default
    def on_before_backward(self, loss: Tensor) -> None:
        """Called before the gradients of a batch are computed."""

    @library_default
    def on_after_backward(self) -> None:
        """Called after the gradients of a batch were added up; they may be scaled."""

    @library_default
    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Called before a step, gradients in their true scale and not yet clipped."""

    @library_default
    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Add the gradients of a loss: by default, let the trainer's backend do it."""
        self._running_trainer("backward").backward(loss, *args, **kwargs)

    @library_default
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        """Drop the gradients of an optimizer's parameters."""
        optimizer.zero_grad()

    @library_default
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any]
    ) -> None:
        """Step the optimizer.

        Args:
            epoch: the index of the epoch.
            batch_idx: the index of the batch in it.
            optimizer: the optimizer; its ``step`` takes the closure.
            optimizer_closure: runs ``training_step`` and ``backward``; it must be called.
        """
        optimizer.step(closure=optimizer_closure)

    @library_default
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a learning-rate scheduler; ``metric`` is None unless it monitors one."""
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    @library_default
    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip before a step: by default as the trainer's arguments say."""
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def clip_gradients(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients of an optimizer's parameters, in their true scale.

        Args:
            optimizer: whose gradients are meant.
            gradient_clip_val: the greatest norm or value; None for the trainer's argument.
            gradient_clip_algorithm: ``"norm"`` or ``"value"``; None for the trainer's argument.

        Raises:
            RuntimeError: no trainer runs this module.
        """
        trainer = self._running_trainer("clip_gradients")
        trainer.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    @library_default
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what must survive to a state about to be saved."""

    @library_default
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take what was added from a state about to be restored."""
