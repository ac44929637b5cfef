"""Counting operations, for ``flops_per_batch`` of a module. Needs torch."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def measure_flops(
    model: nn.Module,
    forward_fn: Callable[[], Any],
    loss_fn: Callable[[Any], Any] | None = None,
) -> int:
    """Return the operations of a forward pass, and of the backward pass behind it.

    A multiplication with an addition counts as two; see torch.utils.flop_counter for what counts.
    A model made under ``with torch.device("meta")`` costs nothing to measure.

    Args:
        model: the model that is called.
        forward_fn: calls it, on a batch.
        loss_fn: from what ``forward_fn`` returned to a loss; then its backward pass counts too,
            and leaves gradients on the model.

    >>> import torch
    >>> with torch.device("meta"):
    ...     layer, x = nn.Linear(8, 4), torch.zeros(2, 8)
    >>> measure_flops(layer, lambda: layer(x)) == 2 * 2 * 8 * 4
    True
    """
    counter = FlopCounterMode(display=False)
    with counter:
        output = forward_fn()
        if loss_fn is not None:
            loss_fn(output).backward()
    return counter.get_total_flops()
