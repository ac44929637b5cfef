"""EMAWeightAveraging: an exponential moving average of the weights."""

from typing import Any, final

from lt_callbacks import extras
from lt_callbacks.weight_averaging import WeightAveraging


@final
class EMAWeightAveraging(WeightAveraging):
    """Keeps an exponential moving average of the weights: ``decay * average + (1 - decay) * new``.

    The first weights taken in are the first average. See :class:`WeightAveraging` for what happens
    with it.

    Args:
        device: where the average is kept; None for where the module is.
        use_buffers: average buffers too; else they are those of the module.
        decay: how much of the average each update leaves, from 0 to 1.
        update_every_n_steps: optimizer steps from one update to the next; 0 for none after steps.
        update_starting_at_step: the index of the first step taken in; None for the first of all.
        update_starting_at_epoch: the index of the first epoch after which the weights are taken in
            too; None for no epoch.
        **kwargs: those of :class:`torch.optim.swa_utils.AveragedModel` but for its functions.

    Raises:
        ModuleNotFoundError: torch is not installed.
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        device: Any = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is a number from 0 to 1. Received decay={decay!r}.")
        if type(update_every_n_steps) is not int or update_every_n_steps < 0:
            raise ValueError(
                "update_every_n_steps is an int of at least 0. "
                f"Received update_every_n_steps={update_every_n_steps!r}."
            )
        averaging = extras.load(
            "lt_callbacks.averaged_weights", extra="averaging", wanted_by="EMAWeightAveraging"
        )
        average = averaging.get_ema_multi_avg_fn(decay=decay)
        super().__init__(device=device, use_buffers=use_buffers, **kwargs, multi_avg_fn=average)
        self.update_every_n_steps = update_every_n_steps
        self.update_starting_at_step = update_starting_at_step
        self.update_starting_at_epoch = update_starting_at_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the weights are taken in, as the arguments say."""
        every, first = self.update_every_n_steps, self.update_starting_at_step
        if step_idx is not None:
            return every > 0 and step_idx >= (first or 0) and step_idx % every == 0
        epoch = self.update_starting_at_epoch
        return epoch is not None and epoch_idx is not None and epoch_idx >= epoch
