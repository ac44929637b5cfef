"""The gradients that an optimizer is about to step with, measured and not read. Needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor

from lt_callbacks.gradient_norms import changes, copies, norms, numbers


@final
@dataclass(frozen=True, slots=True)
class GradientSample:
    """What was measured before a step, and what is needed to measure it.

    Attributes:
        step: how many steps were taken before.
        parameters: those with a gradient, by name.
        norms: the 2-norm of each gradient, on the device.
        weights: a copy of each parameter, None where nobody asks how they change.
        gradients: a copy of each gradient, None where nobody draws them.
    """

    step: int
    parameters: Mapping[str, Tensor]
    norms: Tensor
    weights: list[Tensor] | None
    gradients: list[Tensor] | None

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, Tensor],
        *,
        step: int,
        before: Self | None,
        keep_weights: bool,
        keep_gradients: bool,
    ) -> Self:
        """Measure.

        Args:
            parameters: those with a gradient, by name; at least one.
            step: how many steps were taken.
            before: the sample that this one takes the place of: the weights before the step are
                those that it kept.
            keep_weights: whether to keep a copy of the parameters.
            keep_gradients: whether to keep one of the gradients.
        """
        gradients = [p.grad for p in parameters.values() if p.grad is not None]
        weights: list[Tensor] | None = None
        if keep_weights:
            kept = before.weights if before and before.step == step else None
            weights = kept or copies(list(parameters.values()))
        copied = copies(gradients) if keep_gradients else None
        return cls(step, parameters, norms(gradients), weights, copied)

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the norm of each gradient, and how much each parameter changed, in one transfer.

        The change is the 2-norm of the update, as a share of that of the parameter before it; a
        parameter that was zero has none. It is empty where no weights were kept.
        """
        names = list(self.parameters)
        if self.weights is None:
            return dict(zip(names, self.norms.tolist(), strict=True)), {}
        moved = changes(self.weights, list(self.parameters.values()))
        of_gradients, of_changes, of_weights = numbers(self.norms, moved, norms(self.weights))
        ratios = {
            name: change / weight
            for name, change, weight in zip(names, of_changes, of_weights, strict=True)
            if weight
        }
        return dict(zip(names, of_gradients, strict=True)), ratios

    def histograms(self, finite: Mapping[str, float]) -> dict[str, Any]:
        """Return the gradients that were kept, on the CPU, as far as their norms are finite.

        Of one that is spread over ranks it is this rank's part.
        """
        if self.gradients is None:
            return {}
        named = zip(self.parameters, self.gradients, strict=True)
        return {
            name: _plain(gradient).float().cpu()
            for name, gradient in named
            if abs(finite[name]) < float("inf")
        }


def _plain(gradient: Any) -> Tensor:
    """Return a tensor that can be counted through."""
    local = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    plain: Tensor = local.to_dense() if local.is_sparse else local
    return torch.view_as_real(plain) if plain.is_complex() else plain
