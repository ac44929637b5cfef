"""Which units of ReLUs are silent, counted where they compute. Needs torch."""

from typing import Any, final

import torch
from torch import Tensor, nn

RECTIFIERS = (nn.ReLU, nn.ReLU6)


@final
class ReluWatch:
    """Listens to the ReLUs of a module, in training mode, until it is closed.

    A unit is an index of the channels or features: of dimension 1, or, where the output has three
    dimensions, of dimension 1 or the last one, whichever shows more silence (along the other one,
    which is time or space, whole slices are hardly ever zero). A unit is silent if all that it put
    out since the watch began was zero.
    """

    def __init__(self, module: nn.Module) -> None:
        """Listen to the modules of class ``ReLU`` and ``ReLU6``; functions can't be listened to."""
        self._active: dict[str, list[Tensor]] = {}
        self._handles = [
            child.register_forward_hook(self._listener(name))
            for name, child in module.named_modules()
            if isinstance(child, RECTIFIERS)
        ]

    def _listener(self, name: str) -> Any:
        def listen(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            if module.training and output.ndim >= 2:
                self._note(name, output.detach())

        return listen

    @torch.no_grad()
    def _note(self, name: str, output: Tensor) -> None:
        dimensions = (1, 2) if output.ndim == 3 else (1,)
        active = [
            output.movedim(dimension, 0).flatten(1).gt(0).any(dim=1) for dimension in dimensions
        ]
        before = self._active.get(name)
        if before is not None and all(
            a.shape == b.shape for a, b in zip(before, active, strict=True)
        ):
            active = [a | b for a, b in zip(before, active, strict=True)]
        self._active[name] = active

    def shares(self) -> tuple[list[str], Tensor | None]:
        """Return names, and the share of silent units of each: a vector, not waited for."""
        if not self._active:
            return [], None
        shares = [
            torch.stack([1 - active.float().mean() for active in both]).amax()
            for both in self._active.values()
        ]
        return list(self._active), torch.stack([share.to(shares[0].device) for share in shares])

    def close(self) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()
