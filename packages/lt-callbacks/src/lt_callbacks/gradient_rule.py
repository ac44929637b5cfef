"""The rule of the gradient check: numbers of layers in, findings out. It knows no trainer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

Kind = Literal["non_finite", "vanishing", "exploding", "dead"]


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with the gradients of a step.

    Attributes:
        kind: what it is.
        layer: where: for gradients that are not finite the first layer that the backward pass met,
            otherwise the worst one.
        layers: all layers it is true of, in the program's order.
        sentence: the same in words.
    """

    kind: Kind
    layer: str
    layers: tuple[str, ...]
    sentence: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GradientRule:
    """Says what is wrong with the gradient norms of one step.

    Attributes:
        vanishing_below: a layer whose norm is below this learns nothing; None not to look.
        exploding_above: a layer whose norm is above this learns nonsense; None not to look.
        dead_above: a ReLU of whose units more than this share is silent; None not to look.
    """

    vanishing_below: float | None = None
    exploding_above: float | None = None
    dead_above: float | None = None

    def __post_init__(self) -> None:
        """Check the thresholds."""
        low, high = self.vanishing_below, self.exploding_above
        for name, value in (("vanishing_below", low), ("exploding_above", high)):
            if value is not None and not value >= 0:
                raise ValueError(
                    f"{name} is a norm of at least 0, or None. Received {name}={value!r}."
                )
        if low is not None and high is not None and low >= high:
            raise ValueError(
                "vanishing_below must be less than exploding_above. Received "
                f"vanishing_below={low:g} and exploding_above={high:g}."
            )
        if self.dead_above is not None and not 0 <= self.dead_above < 1:
            raise ValueError(
                "dead_above is a share of units, at least 0 and less than 1, or None. Received "
                f"dead_above={self.dead_above!r}."
            )

    def judge(self, norms: Mapping[str, float]) -> list[Finding]:
        """Return the findings of one step, the gravest first.

        Args:
            norms: the gradient norm of each layer, in the program's order. The backward pass meets
                the last one first.
        """
        found = [self._non_finite(norms), self._vanishing(norms), self._exploding(norms)]
        return [finding for finding in found if finding is not None]

    def judge_silence(self, shares: Mapping[str, float]) -> list[Finding]:
        """Return the finding about ReLUs, if there is one.

        Args:
            shares: the share of silent units of each ReLU, in the order of the forward pass.
        """
        limit = self.dead_above
        layers = () if limit is None else tuple(n for n, share in shares.items() if share > limit)
        if not layers:
            return []
        layer = max(layers, key=shares.__getitem__)
        relus = f"{len(layers)} of {len(shares)} ReLU{'s' if len(shares) != 1 else ''}"
        sentence = (
            f"{shares[layer]:.0%} of the units of {layer or 'the module'} are dead: they put out "
            f"zero for every sample, and dead_above={limit:g}, in {relus}"
        )
        return [Finding("dead", layer, layers, sentence)]

    def _non_finite(self, norms: Mapping[str, float]) -> Finding | None:
        layers = tuple(name for name, norm in norms.items() if not math.isfinite(norm))
        if not layers:
            return None
        layer = layers[-1]
        if len(layers) == len(norms) > 1:
            where = f"in all of the {len(norms)} layers, so look at the loss and its inputs"
        else:
            where = f"in {_share(layers, norms)}"
        sentence = f"the gradient of {layer} is not finite (norm {norms[layer]}), {where}"
        return Finding("non_finite", layer, layers, sentence)

    def _vanishing(self, norms: Mapping[str, float]) -> Finding | None:
        limit = self.vanishing_below
        layers = () if limit is None else tuple(n for n, norm in norms.items() if norm < limit)
        if not layers:
            return None
        layer = min(layers, key=norms.__getitem__)
        sentence = (
            f"the gradient of {layer} vanishes: its norm {norms[layer]:.3g} is below "
            f"vanishing_below={limit:g}, in {_share(layers, norms)}"
        )
        return Finding("vanishing", layer, layers, sentence)

    def _exploding(self, norms: Mapping[str, float]) -> Finding | None:
        limit = self.exploding_above
        finite = {name: norm for name, norm in norms.items() if math.isfinite(norm)}
        layers = () if limit is None else tuple(n for n, norm in finite.items() if norm > limit)
        if not layers:
            return None
        layer = max(layers, key=norms.__getitem__)
        sentence = (
            f"the gradient of {layer} explodes: its norm {norms[layer]:.3g} is above "
            f"exploding_above={limit:g}, in {_share(layers, norms)}"
        )
        return Finding("exploding", layer, layers, sentence)


def total_norm(norms: Mapping[str, float]) -> float:
    """Return the norm of all layers together, from the norm of each.

    >>> total_norm({"a": 3.0, "b": 4.0})
    5.0
    """
    return math.hypot(*norms.values())


def _share(layers: tuple[str, ...], norms: Mapping[str, float]) -> str:
    return f"{len(layers)} of {len(norms)} layer{'s' if len(norms) != 1 else ''}"
