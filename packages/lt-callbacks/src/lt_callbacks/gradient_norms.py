"""Norms of gradients, computed where the gradients are. Needs torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def held_gradients(named: Sequence[tuple[str, Any]], optimizer: Any) -> dict[str, Tensor]:
    """Return the gradients that an optimizer is about to use, by the name of their parameter.

    Args:
        named: all parameters by name, in the program's order; where it is empty, a parameter goes
            by the optimizer's group and its place in it.
        optimizer: has ``param_groups``.
    """
    groups = [group["params"] for group in optimizer.param_groups]
    if not named:
        named = [(f"{g}.{i}", p) for g, group in enumerate(groups) for i, p in enumerate(group)]
    held = {id(parameter) for group in groups for parameter in group}
    return {name: p.grad for name, p in named if p.grad is not None and id(p) in held}


@torch.no_grad()
def norms(gradients: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of each gradient: a vector on the first one's device, not waited for.

    It is of dtype float32, or float64 if a gradient is, so that the norm of a half-precision
    gradient doesn't overflow where none of its elements does.
    """
    dense = [_dense(gradient) for gradient in gradients]
    widest = torch.float64 if any(g.dtype == torch.float64 for g in dense) else torch.float32
    # clip_grad_norm_ is made of it too; torch has no public name for it.
    each = torch._foreach_norm(dense, 2, dtype=widest)  # noqa: SLF001
    return torch.stack([norm.to(each[0].device) for norm in each])


def _dense(gradient: Tensor) -> Tensor:
    """Return a tensor of plain numbers with the same 2-norm."""
    if gradient.is_sparse:
        gradient = gradient.coalesce().values()
    return torch.view_as_real(gradient) if gradient.is_complex() else gradient
