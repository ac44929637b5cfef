"""WeightAveraging: an average of the weights, for validation and at the end."""

from collections.abc import Mapping
from typing import Any

from lt_callbacks import extras
from lt_loop import Callback, Trainer


class WeightAveraging(Callback):
    """Keeps an average of the module's weights, validates with it, and leaves it in the module.

    By default every optimizer step counts alike. Override :meth:`should_update` to choose the steps
    or epochs, and pass ``avg_fn`` or ``multi_avg_fn`` for another kind of average;
    :class:`EMAWeightAveraging` is the exponential one.

    A checkpoint holds the average as ``state_dict``, so it is what is tested and loaded, and the
    weights in training as ``current_model_state``, so a run goes on from them. Training never sees
    the average. It does when the fit is over, but the state of the run keeps both.

    Every rank averages for itself, which gives the same where ranks hold the same weights. Weights
    that are sharded over ranks are refused.

    Args:
        device: where the average is kept; None for where the module is.
        use_buffers: average buffers too; else they are those of the module.
        **kwargs: those of :class:`torch.optim.swa_utils.AveragedModel`.

    Raises:
        ModuleNotFoundError: torch is not installed.
    """

    def __init__(self, device: Any = None, use_buffers: bool = True, **kwargs: Any) -> None:
        extras.check("averaging", wanted_by=type(self).__name__)
        self._device, self._options = device, {"use_buffers": use_buffers, **kwargs}
        self._forget()

    def _forget(self) -> None:
        self._average: Any = None
        self._loaded: Mapping[str, Any] | None = None
        self._latest_update_step, self._latest_update_epoch = 0, -1

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the weights are taken into the average now. Override this to choose.

        Args:
            step_idx: the index of the optimizer step that was just taken, or None.
            epoch_idx: the index of the epoch that is just ending, or None.
        """
        return step_idx is not None

    def state_dict(self) -> dict[str, Any]:
        """Return when the average was last updated."""
        return {
            "latest_update_step": self._latest_update_step,
            "latest_update_epoch": self._latest_update_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._latest_update_step = int(state_dict["latest_update_step"])
        self._latest_update_epoch = int(state_dict.get("latest_update_epoch", -1))

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew, if it is a fit.

        Raises:
            TypeError: the program is no ``nn.Module``.
        """
        if stage != "fit":
            return
        self._forget()
        if not isinstance(pl_module, _averaging().nn.Module):
            raise TypeError(
                f"{type(self).__name__} averages the weights of an nn.Module. "
                f"Received {type(pl_module).__name__}."
            )

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Remember what a run goes on from; the weights are put back when it starts to train."""
        if trainer.state.fn == "fit":
            self._loaded = checkpoint

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Make the average, of the weights as they are.

        Raises:
            ValueError: they are sharded over ranks.
        """
        if any(hasattr(one, "placements") for one in pl_module.parameters()):
            raise ValueError(
                f"{type(self).__name__} averages whole weights. Received parameters that are "
                "sharded over ranks. Use another strategy, or average by hand."
            )
        device = getattr(pl_module, "device", None) if self._device is None else self._device
        self._average = _averaging().Average(pl_module, device=device, **self._options)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """In a run that goes on, put the average and the weights in training back."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        state = loaded.get("averaging_state")
        if state is None:  # of a run without an average, which then begins here
            self._average.model.module.load_state_dict(pl_module.state_dict())
            return
        self._average.load(loaded["state_dict"], state)
        pl_module.load_state_dict(loaded["current_model_state"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average, if the optimizer stepped and this is a step to take in."""
        steps = trainer.global_step
        if steps > self._latest_update_step and self.should_update(step_idx=steps - 1):
            self._average.update(pl_module)
            self._latest_update_step = steps

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Update the average, if this is an epoch to take in and none that was cut short."""
        if trainer.progress.batch == trainer.num_training_batches:
            self._end_epoch(pl_module, trainer.current_epoch)

    def on_safe_point(self, trainer: Trainer, pl_module: Any) -> None:
        """Update the average after an epoch of a length that nobody knew before."""
        self._end_epoch(pl_module, trainer.current_epoch - 1)

    def _end_epoch(self, pl_module: Any, epoch: int) -> None:
        if epoch > self._latest_update_epoch:
            self._latest_update_epoch = epoch
            if self.should_update(epoch_idx=epoch):
                self._average.update(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave the average in the module; keep the weights for a state."""
        self._average.swap(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Validate with the average, in a fit."""
        if self._average is not None and trainer.state.fn == "fit":
            self._average.swap(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Go on with the weights."""
        if self._average is not None and trainer.state.fn == "fit":
            self._average.swap(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Give the module its weights back, if a validation failed."""
        if self._average is not None and self._average.swapped and trainer.state.fn == "fit":
            self._average.swap(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average and the weights in training where they belong."""
        if self._average is None:
            return
        inside, beside = checkpoint["state_dict"], self._average.model.module
        other = _averaging().copied_state(beside, like=inside)
        swapped = self._average.swapped
        checkpoint["state_dict"] = inside if swapped else other
        checkpoint["current_model_state"] = other if swapped else inside
        checkpoint["averaging_state"] = self._average.state()


def _averaging() -> Any:
    return extras.load(
        "lt_callbacks.averaged_weights", extra="averaging", wanted_by="WeightAveraging"
    )
