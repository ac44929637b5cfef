"""Sharding: how one program is spread over processes.

A sharding changes four moments of a training: setting the program up, the step, the backward pass
and the norm of the gradients. :class:`Unsharded` changes none of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lt_accel.world import TorchWorld

Fn = TypeVar("Fn", bound=Callable[..., Any])

STEPS = ("train", "accumulate", "validate", "test", "predict")
"""The phases that are single steps."""


class Sharding(ABC):
    """How one program is spread over processes.

    Attributes:
        reason: what it is, in a word or two.
        collective_forward: whether every forward is one of all ranks, in evaluation too, so that
            all must have as many batches.
        world: whose ranks it spreads a program over; None for one process.
    """

    reason: str = "none"
    collective_forward: bool = False
    world: TorchWorld | None = None

    @abstractmethod
    def spread(self, program: Any, device: torch.device, convert: Callable[[Any], bool]) -> bool:
        """Bring a program to its device and spread it; return whether parameters changed.

        Args:
            program: it.
            device: where this rank computes.
            convert: moves and converts a module in place; returns whether that changed any.
        """

    @abstractmethod
    def begin_training(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Prepare for gradients, once the optimizers are there."""

    def wrap(self, fn: Fn, phase: str) -> Fn:
        """Return a step that goes through the sharding."""
        return fn

    def differentiate(self, loss: Any, backward: Callable[[], None], *, sync: bool) -> None:
        """Run a backward pass, after which gradients are agreed, if ``sync``."""
        backward()

    def all_skip(self, *, pending: bool) -> bool:
        """Return whether the other ranks skip the last step too; True where that is not known."""
        return True

    def device_mesh(self) -> Any:
        """Return the mesh of devices, None where there is none."""
        return None

    def device(self, default: torch.device) -> torch.device:
        """Return where this rank computes, ``default`` where there is one process."""
        return default


@final
class Unsharded(Sharding):
    """One process holds the program."""

    def spread(self, program: Any, device: torch.device, convert: Callable[[Any], bool]) -> bool:
        """Move and convert."""
        return convert(program)

    def begin_training(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Do nothing."""


def check_module(program: Any, strategy: str) -> None:
    """Refuse to spread what has no parameters to be found.

    Raises:
        TypeError: the program is no module.
    """
    if not isinstance(program, nn.Module):
        raise TypeError(
            f"{strategy} spreads the parameters of a torch.nn.Module. Received a "
            f"{type(program).__name__}. Make it one, or use one process."
        )


@torch.no_grad()
def take_from_first(program: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0.

    As bytes, whatever their dtype: not all backends know all of them. Those that are spread
    already, and those without memory, are left out.
    """
    tensors = {id(t): t for t in (*program.parameters(), *program.buffers())}.values()
    for tensor in tensors:
        if type(tensor.data) is not Tensor or tensor.is_meta or not tensor.numel():
            continue
        flat = tensor.data.contiguous().reshape(-1)
        dist.broadcast(flat.view(torch.uint8), 0)
        tensor.data.copy_(flat.reshape(tensor.shape))


def beating(fn: Fn, world: TorchWorld) -> Fn:
    """Return a step that shows a sign of life before it begins."""
    beat = world.pulse.beat

    def step(*arguments: Any, **words: Any) -> Any:
        beat()
        return fn(*arguments, **words)

    return step  # type: ignore[return-value]
