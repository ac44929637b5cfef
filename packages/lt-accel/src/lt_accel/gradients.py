"""Gradients: dropping and clipping them, and the errors of a loss that has none."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, cast

import torch
from torch import Tensor


def parameters_of(optimizer: Any) -> Iterator[Tensor]:
    """Yield the parameters an optimizer holds, in the order of its groups."""
    for group in optimizer.param_groups:
        yield from group["params"]


def drop(optimizer: Any) -> None:
    """Set the gradients of an optimizer's parameters to None.

    By assignment, which costs a twentieth of ``optimizer.zero_grad()`` on a small model. The
    groups are walked each time: remembering a flat list, and checking that nothing was added to
    the groups, would cost more.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def by_mesh(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Return the parameters that have gradients, those spread over one mesh together.

    Torch computes on spread tensors of one mesh, or on ordinary ones, but on no mixture of them.
    """
    parts: dict[Any, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            parts.setdefault(getattr(parameter.grad, "device_mesh", None), []).append(parameter)
    return list(parts.values())


def clip(optimizer: Any, value: float, algorithm: Literal["norm", "value"]) -> Tensor | None:
    """Clip gradients in place with torch's own functions.

    Args:
        optimizer: whose parameters' gradients are meant.
        value: the greatest total 2-norm, or the greatest absolute value.
        algorithm: which of the two.

    Returns:
        The total norm before, a scalar tensor that was not waited for; None for ``"value"``.

    Raises:
        ValueError: there is no such algorithm.
    """
    parameters = list(parameters_of(optimizer))
    parts = by_mesh(parameters)
    if algorithm == "norm":
        if len(parts) > 1:
            return _clip_parts(parts, value)
        return torch.nn.utils.clip_grad_norm_(parameters, value)
    if algorithm == "value":
        for part in parts:
            torch.nn.utils.clip_grad_value_(part, value)
        return None
    raise ValueError(
        f"Gradients are clipped by 'norm' or by 'value'. Received algorithm={algorithm!r}."
    )


@torch.no_grad()
def _clip_parts(parts: list[list[Tensor]], value: float) -> Tensor:
    """Clip as torch would if it could compute on all of the gradients together."""
    norms = []
    for part in parts:
        norm: Any = torch.nn.utils.get_total_norm(cast(list[Tensor], [p.grad for p in part]))
        norms.append(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    factor = torch.clamp(value / (total + 1e-6), max=1.0)
    for part in parts:
        gradients: list[Any] = [parameter.grad for parameter in part]
        # A rank's share is scaled by itself: multiplying asks nothing of the others.
        locals_ = [g.to_local() if hasattr(g, "to_local") else g for g in gradients]
        torch._foreach_mul_(locals_, factor)
    return total


def first_non_finite(program: Any, optimizer: Any) -> str | None:
    """Return the name of a parameter whose gradient holds NaN or infinity, None where none does.

    Of several it is the one that the backward pass met first, as NaN spreads from there. Waits for
    the device. Of a gradient that is spread over ranks, this rank's part is looked at.
    """
    held = {id(parameter) for parameter in parameters_of(optimizer)}
    named = getattr(program, "named_parameters", None)
    pairs = list(named()) if callable(named) else []
    known = {id(parameter) for _, parameter in pairs}
    pairs += [("a parameter", p) for p in parameters_of(optimizer) if id(p) not in known]
    whole = [(name, p.grad) for name, p in pairs if id(p) in held and p.grad is not None]
    parts = [(name, g.to_local() if hasattr(g, "to_local") else g) for name, g in whole]
    gradients = [(name, part) for name, part in parts if part.numel()]  # a rank's may be empty
    if not gradients:
        return None
    largest = torch._foreach_norm([grad for _, grad in gradients], float("inf"))  # noqa: SLF001
    finite = torch.stack([value.float() for value in largest]).isfinite().tolist()
    bad = [name for (name, _), fine in zip(gradients, finite, strict=True) if not fine]
    return bad[-1] if bad else None


def reason_for(loss: Any, error: Exception) -> Exception:
    """Return the error that says what is wrong with a loss whose ``backward()`` failed.

    Where nothing is wrong with the loss itself, that is ``error``.
    """
    if not hasattr(loss, "backward"):
        return TypeError(
            f"The loss must be a tensor. Received {type(loss).__name__}. Return the loss itself, "
            "before item() or float()."
        )
    if not isinstance(loss, Tensor):
        return error
    if loss.numel() != 1:
        return ValueError(
            f"The loss must be a scalar. Received a tensor of shape {tuple(loss.shape)}. Reduce "
            "it, for example with .mean()."
        )
    if not loss.requires_grad:
        return ValueError(
            "The loss must depend on parameters that require a gradient. Received a tensor "
            "without a gradient. Return the loss before .detach(), compute it outside "
            "torch.no_grad(), and see that not all parameters are frozen."
        )
    return error
