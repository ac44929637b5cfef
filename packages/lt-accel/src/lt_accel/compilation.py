"""Compilation of training steps."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar, final

import torch

from lt_accel.precision import Precision

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Compilation(Protocol):
    """How training steps are compiled."""

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Prepare for a training."""

    def wrap(self, fn: Fn) -> Fn:
        """Return the compiled step."""


@final
class Eager:
    """Leaves steps as they are."""

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Do nothing."""

    def wrap(self, fn: Fn) -> Fn:
        """Return the step."""
        return fn


def compilation(word: Any, device: torch.device, precision: Precision) -> Compilation:
    return Eager()
