"""Averages of a module's weights, and batch statistics that fit them. It knows no trainer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

__all__ = [
    "SWALR",
    "Average",
    "batch_norms",
    "copied_state",
    "copy_parameters",
    "copy_statistics",
    "get_ema_multi_avg_fn",
    "has_stepped",
    "idle_optimizer",
    "nn",
    "statistics_anew",
    "update_average",
]

AverageFunction = Callable[[Tensor, Tensor, Any], Tensor]
"""Takes average, new value and how many are averaged already; returns the new average."""


@final
class Average:
    """A running average of the weights of a module, in ``torch.optim.swa_utils``' own class.

    Attributes:
        model: torch's, whose ``module`` holds the average, or, while swapped, the weights that
            the module had.
        swapped: whether the module holds the average now.
    """

    def __init__(self, module: nn.Module, **options: Any) -> None:
        """Start with the module's weights.

        Args:
            module: of which the average is taken.
            **options: those of :class:`torch.optim.swa_utils.AveragedModel`; without a function,
                the mean.
        """
        if options.get("avg_fn") is None and options.get("multi_avg_fn") is None:
            options["multi_avg_fn"] = mean_of_all
        with _alone(module):
            self.model = AveragedModel(module, **options)
        self.model.requires_grad_(False)
        self.swapped = False

    def update(self, module: nn.Module) -> None:
        """Take in the module's weights."""
        self.model.update_parameters(module)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the module's weights and the average, in place."""
        for average, current in zip(_tensors(self.model.module), _tensors(module), strict=True):
            kept = average.detach().clone()
            average.copy_(current)
            current.copy_(kept)
        self.swapped = not self.swapped

    def state(self) -> dict[str, Tensor]:
        """Return what there is beside the weights: how many are averaged."""
        return {"n_averaged": self.model.n_averaged.detach().clone()}

    def load(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Put an average back."""
        self.model.module.load_state_dict(weights)
        self.model.n_averaged.copy_(state["n_averaged"])


@contextmanager
def _alone(module: nn.Module) -> Iterator[None]:
    """Take a module's trainer away inside, which is not to be copied with it."""
    held = {name: vars(module).pop(name) for name in ("trainer",) if name in vars(module)}
    try:
        yield
    finally:
        vars(module).update(held)


@torch.no_grad()
def mean_of_all(averages: list[Tensor], values: list[Tensor], count: Any) -> None:
    """Take values into means of so many before them, in place; all are of one dtype and device.

    ``torch.optim.swa_utils.get_swa_multi_avg_fn`` does the same, and fails on whole numbers, such
    as the count of batches that batch normalization keeps.
    """
    if averages[0].is_floating_point() or averages[0].is_complex():
        torch._foreach_lerp_(averages, values, float(1 / (count + 1)))
        return
    for average, value in zip(averages, values, strict=True):
        average.copy_(average + (value - average) / (count + 1))


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def copied_state(module: nn.Module, like: Mapping[str, Any]) -> dict[str, Any]:
    """Return a module's state by name, tensors copied to where those of another state are."""
    return {
        name: value.detach().to(getattr(like.get(name), "device", value.device), copy=True)
        if isinstance(value, Tensor)
        else value
        for name, value in module.state_dict().items()
    }


@torch.no_grad()
def update_average(
    averages: Iterable[Tensor], values: Iterable[Tensor], count: int, average: AverageFunction
) -> None:
    """Take values into averages, in place; the first ones are copied.

    Args:
        averages: the averages so far.
        values: the new values, in the same order, perhaps on another device.
        count: how many are averaged already.
        average: returns the new average.
    """
    for before, value in zip(averages, values, strict=True):
        value = value.detach().to(before.device)
        number = torch.tensor(count, device=before.device)
        before.detach().copy_(value if count == 0 else average(before.detach(), value, number))


@torch.no_grad()
def copy_parameters(source: nn.Module, target: nn.Module) -> None:
    """Give a module the parameters of another, in place."""
    for one, other in zip(source.parameters(), target.parameters(), strict=True):
        other.copy_(one)


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the parts of a module that keep statistics of the batches they see."""
    return [
        one for one in module.modules() if isinstance(one, _BatchNorm) and one.track_running_stats
    ]


@contextmanager
def statistics_anew(module: nn.Module) -> Iterator[None]:
    """Let the statistics of batches be those of the batches seen inside, each counted alike."""
    momenta = [(one, one.momentum) for one in batch_norms(module)]
    for one, _ in momenta:
        one.reset_running_stats()
        one.momentum = None  # a mean of all instead of a running one
    try:
        yield
    finally:
        for one, momentum in momenta:
            one.momentum = momentum


@torch.no_grad()
def copy_statistics(source: nn.Module, target: nn.Module) -> None:
    """Give a module the batch statistics of another of its kind, in place."""
    for one, other in zip(batch_norms(source), batch_norms(target), strict=True):
        for mine, theirs in zip(one.buffers(), other.buffers(), strict=True):
            theirs.copy_(mine)


def idle_optimizer(module: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer of a module's parameters, for a run in which nobody steps it."""
    return torch.optim.SGD(module.parameters(), lr=0.0)


def has_stepped(optimizer: Any) -> None:
    """Tell torch's schedulers, which look for it, that an optimizer stepped before a resume."""
    optimizer._opt_called = True  # noqa: SLF001
