"""Gradients of functions and modules compared with differences, in float64. Needs torch."""

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.autograd.gradcheck import GradcheckError

from lt_callbacks.custom_functions import Call
from lt_callbacks.tensors_in import mapped, tensors_in
from lt_callbacks.untouched import random_generators_untouched

ONE_BY_ONE_UP_TO = 1000
"""Input elements up to which each is varied by itself."""

STEP = 1e-6
"""How far inputs are varied; what gradcheck takes, too."""


class Verdict(NamedTuple):
    """What came of a check: ``"right"``, ``"wrong"`` or ``"unknown"``, and why."""

    kind: str
    sentence: str = ""


def check_function(name: str, function: Any, inputs: Sequence[Any]) -> Verdict:
    """Check a function, or a class of autograd functions, on given inputs."""
    apply = getattr(function, "apply", function)
    given = mapped(tuple(inputs), _leaf)
    leaves = _leaves(given)
    return _checked(name, lambda *tensors: apply(*_refilled(given, tensors)), leaves, nn.Module())


def check_call(call: Call, *, samples: int) -> Verdict:
    """Check a submodule, with all its parameters, on the first samples of what it was called with.

    The check is made on a copy: the module itself is left alone.
    """
    name = f"{call.name or 'the module'} ({type(call.module).__name__})"
    try:
        module = copy.deepcopy(call.module).double()
    except Exception as error:
        # Whatever a user's module can't do here, it need not do for training.
        return Verdict("unknown", f"{name} can't be copied: {_first_line(error)}")
    first = next(tensors_in((call.args, call.words)), None)
    rows = len(first) if first is not None and first.ndim else 0

    def small(tensor: Tensor) -> Tensor:
        whole = not tensor.ndim or len(tensor) != rows
        return _leaf(tensor if whole else tensor[:samples])

    given = mapped((call.args, call.words), small)
    parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
    leaves = _leaves(given)
    count = len(leaves)

    def function(*tensors: Tensor) -> Any:
        args, words = _refilled(given, tensors[:count])
        renewed = dict(zip(parameters, tensors[count:], strict=True))
        return torch.func.functional_call(module, renewed, tuple(args), words)

    return _checked(name, function, leaves | parameters, module)


def _checked(
    name: str, function: Callable[..., Any], leaves: Mapping[str, Tensor], module: nn.Module
) -> Verdict:
    if not leaves:
        return Verdict("unknown", f"{name} has no input of floating point to differentiate by")
    inputs = list(leaves.values())
    try:
        with random_generators_untouched(module) as rewind, torch.enable_grad():

            def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
                rewind()  # what it draws must be the same each time
                found = tensors_in(function(*tensors))
                return tuple(tensor for tensor in found if tensor.requires_grad)

            narrow = {str(t.dtype) for t in outputs(*inputs) if t.dtype != torch.float64}
            if narrow:
                return Verdict("unknown", f"{name} computes in {narrow.pop()}, given torch.float64")
            if sum(leaf.numel() for leaf in inputs) > ONE_BY_ONE_UP_TO:
                return _compared_in_directions(name, outputs, leaves)
            gradcheck(outputs, inputs)
    except GradcheckError as error:
        by_name = re.sub(
            r"\binput (\d+)", lambda found: list(leaves)[int(found[1])], _first_line(error)
        )
        return Verdict("wrong", f"{name}: {by_name}")
    except Exception as error:
        # A custom function may serve one dtype or one kind of input only.
        return Verdict("unknown", f"{name} can't be called in float64: {_first_line(error)}")
    return Verdict("right")


def _compared_in_directions(
    name: str, outputs: Callable[..., tuple[Tensor, ...]], leaves: Mapping[str, Tensor]
) -> Verdict:
    """Compare derivatives of a random sum of the outputs, by a random direction of each input.

    Two forward passes and one gradient for each input, whatever its size. (gradcheck's fast mode
    does so too, but goes through all elements to word an error.)
    """
    inputs = list(leaves.values())
    generator = torch.Generator().manual_seed(0)

    def like(tensor: Tensor) -> Tensor:
        drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        return drawn.to(tensor.device)

    weights = [like(output) for output in outputs(*inputs)]

    def total(*tensors: Tensor) -> Tensor:
        parts = zip(weights, outputs(*tensors), strict=True)
        return torch.stack([(weight * part).sum() for weight, part in parts]).sum()

    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        total(*inputs), inputs, allow_unused=True
    )
    for place, (word, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        direction = like(inputs[place])
        ahead, behind = list(inputs), list(inputs)
        ahead[place] = (inputs[place] + STEP * direction).detach().requires_grad_()
        behind[place] = (inputs[place] - STEP * direction).detach().requires_grad_()
        by_difference = float((total(*ahead) - total(*behind)).detach()) / (2 * STEP)
        by_backward = 0.0 if gradient is None else float((gradient * direction).sum())
        if not math.isclose(by_difference, by_backward, rel_tol=1e-3, abs_tol=1e-5):
            return Verdict(
                "wrong",
                f"{name}: by {word}, a difference tells {by_difference:.6g} and the backward "
                f"{by_backward:.6g}",
            )
    return Verdict("right")


def _leaves(nest: Any) -> dict[str, Tensor]:
    """Return what is differentiated by, in its order."""
    found = [tensor for tensor in tensors_in(nest) if tensor.requires_grad]
    return {f"input {place}": tensor for place, tensor in enumerate(found)}


def _leaf(tensor: Tensor) -> Tensor:
    """Return a copy in float64 to differentiate by; one of another kind as it is."""
    if not tensor.is_floating_point():
        return tensor.detach()
    return tensor.detach().double().clone().requires_grad_()


def _refilled(nest: Any, leaves: Sequence[Tensor]) -> Any:
    rest = iter(leaves)
    return mapped(nest, lambda tensor: next(rest) if tensor.requires_grad else tensor)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
    line = lines[0].rstrip(".,") if lines else ""
    return f"{type(error).__name__}: {line}".removesuffix(": ")
