"""Whether the samples of a batch have a part in each other's outputs. Needs torch."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, final

import torch
from torch import Tensor, nn

from lt_callbacks.tensors_in import mapped, tensors_in
from lt_callbacks.untouched import untouched


def find_leak(
    module: nn.Module, batch: Any, inputs: Callable[[Any], Any] | None
) -> tuple[int, int] | None:
    """Return two samples of which the second has a part in the output of the first, or None.

    The module is called on the whole batch, in evaluation mode. The output of the first, the
    middle and the last sample is then differentiated by the inputs of all samples, or, where those
    are whole numbers, by what embeddings make of them.

    Args:
        module: what is called.
        batch: the batch.
        inputs: from a batch to what the module is called with, a tuple of arguments; None for the
            batch itself if it is a tensor, else its first part.

    Raises:
        ValueError: the module can't be called so, or nothing in it can be differentiated.
    """
    args = _arguments(batch, inputs)
    leaves = Leaves(len(next(tensors_in(args))))
    with untouched(module), torch.enable_grad(), ExitStack() as stack:
        module.eval()
        args = mapped(args, leaves.cut)
        if not leaves.found:
            for child in module.modules():
                if isinstance(child, nn.Embedding):
                    stack.callback(child.register_forward_hook(leaves.cut_output).remove)
        outputs = _outputs(module, args, leaves)
        for probe in sorted({0, leaves.size // 2, leaves.size - 1}):
            total = torch.stack([output[probe].sum().double() for output in outputs]).sum()
            gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
                total, leaves.found, retain_graph=True, allow_unused=True
            )
            others = (_touched(g, probe) for g in gradients if g is not None)
            if (other := next((o for o in others if o is not None), None)) is not None:
                return probe, other
    return None


@final
class Leaves:
    """Tensors with a row for each sample, cut off from what made them, to differentiate by."""

    def __init__(self, size: int) -> None:
        """Begin without any; a batch has ``size`` samples."""
        self.size = size
        self.found: list[Tensor] = []

    def cut(self, tensor: Tensor) -> Tensor:
        """Return a leaf in the place of a tensor, where it is one to differentiate by."""
        if not tensor.is_floating_point() or not tensor.ndim or len(tensor) != self.size:
            return tensor
        self.found.append(tensor.detach().clone().requires_grad_())
        return self.found[-1]

    def cut_output(self, _: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Do so with what a module returned: a hook."""
        return self.cut(output)


def _outputs(module: nn.Module, args: tuple[Any, ...], leaves: Leaves) -> list[Tensor]:
    """Call a module; return what can be differentiated and has a row for each sample."""
    name = type(module).__name__
    try:
        returned = module(*args)
    except Exception as error:
        raise ValueError(
            f"leaks=True calls {name} with the first part of a batch. Received "
            f"{type(error).__name__}: {error}. Pass inputs=, a function from a batch to the tuple "
            "of its arguments."
        ) from error
    found = [t for t in tensors_in(returned) if t.requires_grad and t.ndim > 0]
    outputs = [tensor for tensor in found if len(tensor) == leaves.size]
    if not leaves.found or not outputs:
        what = "outputs" if leaves.found else "inputs"
        raise ValueError(
            "leaks=True differentiates outputs by inputs, sample by sample. Received a "
            f"{name} without {what} of floating point for each of the {leaves.size} samples. Pass "
            "inputs=, or leaks=False."
        )
    return outputs


def _touched(gradient: Tensor, probe: int) -> int | None:
    """Return the first sample beside the probe whose gradient is not zero."""
    rows = gradient.flatten(1).ne(0).any(1) if gradient.ndim > 1 else gradient.ne(0)
    return next((index for index, row in enumerate(rows.tolist()) if row and index != probe), None)


def _arguments(batch: Any, inputs: Callable[[Any], Any] | None) -> tuple[Any, ...]:
    if inputs is not None:
        given = inputs(batch)
    elif isinstance(batch, Mapping):
        raise ValueError(
            "leaks=True needs to know what the module is called with. Received a batch that is a "
            f"mapping with the keys {', '.join(map(str, batch))}. Pass inputs=, a function from a "
            "batch to the tuple of its arguments."
        )
    else:
        given = batch[0] if isinstance(batch, list | tuple) and batch else batch
    args = given if isinstance(given, tuple) else (given,)
    first = next(tensors_in(args), None)
    if first is None or not first.ndim or len(first) < 2:
        raise ValueError(
            "leaks=True compares the samples of a batch. Received one with fewer than two, or "
            "without a tensor. Use a larger batch, or pass inputs=."
        )
    return args
