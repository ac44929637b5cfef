"""Gathering: what all ranks have, on every rank, with gradients if asked for."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def world_size(group: Any = None) -> int:
    """Return how many processes torch has in a group; 1 where there is none."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def gathered(data: Any, *, device: torch.device, group: Any, gradients: bool) -> Any:
    """Return ``data`` with each tensor in it as a stack of those of all ranks.

    Args:
        data: tensors and numbers in dicts, lists and tuples; numbers become tensors. Every rank
            passes the same structure, and tensors of the same shapes.
        device: where the numbers go.
        group: a process group of torch; None for all ranks.
        gradients: whether gradients flow back to the ranks that the tensors came from.
    """
    alone = world_size(group) == 1

    def one(value: Any) -> Tensor:
        tensor = value if isinstance(value, Tensor) else torch.tensor(value, device=device)
        if alone:
            return tensor
        if not gradients:
            return stacked(tensor, group)
        return cast(Tensor, Stack.apply(tensor, group))  # type: ignore[no-untyped-call]

    return _mapped(data, one)


def stacked(tensor: Tensor, group: Any) -> Tensor:
    """Return the tensors of all ranks along a new first dimension, without their graphs."""
    parts = [torch.empty_like(tensor, requires_grad=False) for _ in range(world_size(group))]
    dist.all_gather(parts, tensor.detach().contiguous(), group=group)
    return torch.stack(parts)


class Stack(torch.autograd.Function):
    """Stacks the tensors of all ranks; a rank's gradient is the sum of what all ranks send it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        """Gather."""
        ctx.group = group
        return stacked(tensor, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Add up the gradients of all ranks, and keep what belongs to this one."""
        total = grads[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total[dist.get_rank(ctx.group)], None


def _mapped(data: Any, one: Callable[[Any], Tensor]) -> Any:
    if isinstance(data, Tensor | int | float | complex):
        return one(data)
    if isinstance(data, Mapping):
        return {key: _mapped(value, one) for key, value in data.items()}
    if isinstance(data, list):
        return [_mapped(value, one) for value in data]
    if isinstance(data, tuple):
        parts = [_mapped(value, one) for value in data]
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return data
