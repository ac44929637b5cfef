"""Freezing and thawing modules, and their parameters in optimizers. It knows no trainer."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

log = logging.getLogger("lt_callbacks")

Modules = Any
"""A module, or an iterable of modules and of such iterables."""


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a module keeps statistics of its batches."""
    return isinstance(module, _BatchNorm)


def flattened(modules: Modules) -> list[nn.Module]:
    """Return the modules that have parameters of their own, and those without children."""
    if isinstance(modules, nn.ModuleDict):
        modules = modules.values()
    if isinstance(modules, Iterable):
        found = [one for part in modules for one in flattened(part)]
    else:
        found = list(modules.modules())
    return [one for one in found if not list(one.children()) or own_parameters(one)]


def own_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return a module's own parameters, without those of its children."""
    return list(module.parameters(recurse=False))


def parameters(
    modules: Modules, *, train_bn: bool = True, requires_grad: bool = True
) -> Iterator[nn.Parameter]:
    """Yield the parameters that are trained, or that are not.

    Args:
        modules: of which modules.
        train_bn: whether those of batch normalization count.
        requires_grad: which of the two.
    """
    for module in flattened(modules):
        if is_batch_norm(module) and not train_bn:
            continue
        for parameter in own_parameters(module):
            if parameter.requires_grad == requires_grad:
                yield parameter


def set_trainable(module: nn.Module, trainable: bool) -> None:
    """Freeze or thaw a module's own parameters, and the statistics of a batch normalization."""
    if isinstance(module, _BatchNorm):
        module.track_running_stats = trainable
    for parameter in own_parameters(module):
        parameter.requires_grad = trainable


def not_in(optimizer: Optimizer, candidates: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Return the parameters that an optimizer does not hold yet."""
    held = {id(one) for group in optimizer.param_groups for one in group["params"]}
    candidates = list(candidates)
    missing = [one for one in candidates if id(one) not in held]
    if len(missing) < len(candidates):
        log.info(
            "%d parameters that are to be trained from now on are in the optimizer already, and "
            "keep their group. Make it of the parameters with requires_grad, to keep them out",
            len(candidates) - len(missing),
        )
    return missing


def frozen(module: nn.Module) -> dict[str, list[str]]:
    """Return what is frozen in a module, by name: parameters, and statistics."""
    return {
        "parameters": [name for name, one in module.named_parameters() if not one.requires_grad],
        "statistics": [
            name
            for name, one in module.named_modules()
            if isinstance(one, _BatchNorm) and not one.track_running_stats
        ],
    }


def freeze_again(module: nn.Module, saved: Mapping[str, Iterable[str]]) -> None:
    """Freeze what :func:`frozen` returned, and thaw the rest."""
    still, statistics = set(saved["parameters"]), set(saved["statistics"])
    for name, parameter in module.named_parameters():
        parameter.requires_grad = name not in still
    for name, one in module.named_modules():
        if isinstance(one, _BatchNorm):
            one.track_running_stats = name not in statistics


def groups_by_name(module: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    """Return the names of the parameters in each group of an optimizer."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [[names[id(one)] for one in group["params"]] for group in optimizer.param_groups]


def regroup(module: nn.Module, optimizer: Optimizer, groups: Iterable[Iterable[str]]) -> None:
    """Give an optimizer the groups it had; the settings of new ones are still to be loaded.

    Raises:
        ValueError: the first of them are other groups.
    """
    wanted, now = [list(group) for group in groups], groups_by_name(module, optimizer)
    if now != wanted[: len(now)]:
        raise ValueError(
            "A run goes on with the optimizer it had, to which its finetuning callback adds groups "
            f"of parameters. Received one with {now}, where {wanted[: len(now)]} began. Return the "
            "same from configure_optimizers."
        )
    named = dict(module.named_parameters())
    for group in wanted[len(now) :]:
        optimizer.add_param_group({"params": [named[name] for name in group]})
