"""GradientAccumulationScheduler: how many batches make an optimizer step, epoch by epoch."""

import dataclasses
from typing import Any, final

from lt_loop import Callback, Limits


@final
class GradientAccumulationScheduler(Callback):
    """Accumulates the gradients of another number of batches from some epochs on.

    It hands its schedule over when the run is planned, as
    ``Trainer(accumulate_grad_batches={epoch: batches})`` does, which needs no callback. Costs
    nothing in the step.

    Args:
        scheduling: batches that make an optimizer step, by the index of the epoch from which on
            they do; 1 before the first.

    Attributes:
        scheduling: the schedule, epoch 0 included.
        epochs: the epochs in it, in order.

    Raises:
        TypeError: the schedule is no dict, or is empty.
        ValueError: an epoch is no int of at least 0, or a number of batches none of at least 1.
    """

    def __init__(self, scheduling: dict[int, int]) -> None:
        given: Any = scheduling
        if not isinstance(given, dict) or not given:
            raise TypeError(
                "scheduling is a dict from epochs to numbers of batches. "
                f"Received {given!r}. Write for example {{0: 1, 4: 2}}."
            )
        if not all(type(epoch) is int and epoch >= 0 for epoch in given):
            raise ValueError(
                f"The keys of scheduling are epochs, ints from 0. Received {list(given)}."
            )
        if not all(type(batches) is int and batches >= 1 for batches in given.values()):
            raise ValueError(
                "The values of scheduling are numbers of batches, ints from 1. "
                f"Received {list(given.values())}."
            )
        self.scheduling = {0: 1} | scheduling
        self.epochs = sorted(self.scheduling)

    def going_to_accumulate_grad_batches(self) -> bool:
        """Return whether any epoch has optimizer steps of several batches."""
        return any(batches > 1 for batches in self.scheduling.values())

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Return how many batches make an optimizer step in an epoch."""
        return self.scheduling[max(start for start in self.epochs if start <= epoch)]

    def plan_limits(self, limits: Limits) -> Limits:
        """Return the limits with the schedule in them.

        Raises:
            ValueError: they have one already.
        """
        if limits.accumulate_grad_batches != 1:
            raise ValueError(
                "Batches are accumulated by the Trainer's argument or by the callback. Received "
                f"accumulate_grad_batches={limits.accumulate_grad_batches!r} and a "
                "GradientAccumulationScheduler. Drop one of them."
            )
        return dataclasses.replace(limits, accumulate_grad_batches=self.scheduling)
