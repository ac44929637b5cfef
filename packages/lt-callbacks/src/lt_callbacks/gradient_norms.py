"""Norms of gradients and updates, computed where the parameters are. Needs torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def held_parameters(named: Sequence[tuple[str, Any]], optimizer: Any) -> dict[str, Tensor]:
    """Return the parameters with a gradient that an optimizer is about to use, by their name.

    Args:
        named: all parameters by name, in the program's order; where it is empty, a parameter goes
            by the optimizer's group and its place in it.
        optimizer: has ``param_groups``.
    """
    groups = [group["params"] for group in optimizer.param_groups]
    if not named:
        named = [(f"{g}.{i}", p) for g, group in enumerate(groups) for i, p in enumerate(group)]
    held = {id(parameter) for group in groups for parameter in group}
    return {name: p for name, p in named if p.grad is not None and id(p) in held}


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return a copy of each tensor, which later steps don't change."""
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def norms(gradients: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of each gradient: a vector on the first one's device, not waited for.

    It is of dtype float32, or float64 if a gradient is, so that the norm of a half-precision
    gradient doesn't overflow where none of its elements does. The norm of one that is spread over
    ranks (a DTensor) is that of the whole: all of them must ask.
    """
    dense = [_dense(gradient) for gradient in gradients]
    widest = torch.float64 if any(g.dtype == torch.float64 for g in dense) else torch.float32
    # clip_grad_norm_ is made of it too; torch has no public name for it.
    each = torch._foreach_norm(dense, 2, dtype=widest)  # noqa: SLF001
    whole = [getattr(norm, "full_tensor", lambda norm=norm: norm)() for norm in each]
    return torch.stack([norm.to(whole[0].device) for norm in whole])


@torch.no_grad()
def changes(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Return the 2-norm of what changed in each tensor: a vector, not waited for."""
    return norms(torch._foreach_sub(list(after), list(before)))  # noqa: SLF001 - see above


def numbers(*vectors: Tensor) -> list[list[float]]:
    """Return vectors of one device as lists of numbers, in one transfer."""
    flat = torch.cat([vector.double() for vector in vectors]).tolist() if vectors else []
    found, start = [], 0
    for vector in vectors:
        found.append(flat[start : start + len(vector)])
        start += len(vector)
    return found


def _dense(gradient: Tensor) -> Tensor:
    """Return a tensor of plain numbers with the same 2-norm."""
    if gradient.is_sparse:
        gradient = gradient.coalesce().values()
    return torch.view_as_real(gradient) if gradient.is_complex() else gradient
