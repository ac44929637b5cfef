"""What a summary is made of, measured. Needs torch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils.flop_counter import FlopCounterMode

from lt_callbacks.summary import LayerSummary, Summary
from lt_callbacks.untouched import untouched


class Forward(NamedTuple):
    """What a forward pass showed: sizes by the module's name, and FLOPs by it; ``""`` is the whole.

    ``note`` says why there is nothing.
    """

    sizes: dict[str, tuple[Any, Any]]
    flops: dict[str, int]
    note: str = ""


def measured(module: nn.Module, max_depth: int) -> Summary:
    """Return the summary of a module; the arguments are those of ``summarize``."""
    shown = {
        name: child
        for name, child in module.named_modules()
        if name and (max_depth < 0 or name.count(".") < max_depth)
    }
    example = getattr(module, "example_input_array", None)
    forward = _forward(module, example) if example is not None and max_depth else None
    seen = forward is not None and not forward.note
    sizes, flops = (forward.sizes, forward.flops) if forward else ({}, {})
    layers = tuple(
        LayerSummary(
            name=name,
            type=type(child).__name__,
            parameters=_count(child.parameters()),
            training=child.training,
            flops=flops.get(name, 0) if name in sizes else None,
            in_size=sizes.get(name, (None, None))[0],
            out_size=sizes.get(name, (None, None))[1],
        )
        for name, child in shown.items()
    )
    parameters = list(module.parameters())
    modes = [child.training for child in module.modules() if child is not module]
    return Summary(
        layers=layers,
        total_parameters=_count(parameters),
        trainable_parameters=_count(p for p in parameters if p.requires_grad),
        model_size=sum(_numel(p) * p.dtype.itemsize for p in parameters) / 1e6,
        modes={"train": modes.count(True), "eval": modes.count(False)},
        total_flops=flops.get("", 0) if seen else None,
        other_parameters=_count(module.parameters(recurse=False)) if shown else 0,
        note=forward.note if forward else "",
    )


def _count(parameters: Any) -> int:
    return sum(map(_numel, parameters))


def _numel(parameter: Tensor) -> int:
    """Return how many numbers a parameter holds, over all ranks where it is spread over them."""
    return 0 if _lazy(parameter) else parameter.numel()


def _lazy(tensor: Tensor) -> bool:
    return isinstance(tensor, UninitializedBuffer | UninitializedParameter)


def _forward(module: nn.Module, example: Any) -> Forward:
    """Call a module with its example input and see what happens, leaving no trace."""
    if any(map(_lazy, chain(module.parameters(), module.buffers()))):
        return Forward({}, {}, "No shapes: the module has lazy parameters, which a call would fix.")
    place = partial(_moved, like=next(module.parameters(), torch.empty(0)))
    counter, sizes = FlopCounterMode(display=False), dict[str, tuple[Any, Any]]()
    try:
        with untouched(module), torch.no_grad(), _noting_sizes(module, sizes), _unfused(), counter:
            module.eval()
            _called(module, place(example))
    except Exception as error:
        # A summary must not end the run that it introduces; what went wrong stands in it.
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        return Forward({}, {}, f"No shapes: calling it with example_input_array failed, {problem}")
    return Forward(sizes, _flops_by_name(module, counter))


def _flops_by_name(module: nn.Module, counter: FlopCounterMode) -> dict[str, int]:
    counts = counter.get_flop_counts()
    prefix = type(module).__name__ + "."
    found = {
        name.removeprefix(prefix): sum(by_operator.values())
        for name, by_operator in counts.items()
        if name.startswith(prefix)
    }
    return {**found, "": counter.get_total_flops()}


@contextmanager
def _unfused() -> Iterator[None]:
    """Let each layer be computed by itself, as it was written.

    Without gradients, torch computes attention by one operator, whose FLOPs nobody counts; and
    what was compiled has no layers.
    """
    set_stance = getattr(torch.compiler, "set_stance", None)  # in torch 2.6 and later
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with set_stance("force_eager") if set_stance else nullcontext():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _noting_sizes(module: nn.Module, sizes: dict[str, tuple[Any, Any]]) -> Iterator[None]:
    """Note the shapes that go into each submodule and come out of it in its first call."""

    def hook(name: str) -> Callable[..., None]:
        def note(_: nn.Module, args: tuple[Any, ...], words: dict[str, Any], out: Any) -> None:
            inputs = (*args, *words.values())
            into = _shape_of(inputs[0] if len(inputs) == 1 else list(inputs))
            sizes.setdefault(name, (into, _shape_of(out)))

        return note

    with ExitStack() as stack:
        for name, child in module.named_modules():
            handle = child.register_forward_hook(hook(name), with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _shape_of(value: Any) -> Any:
    """Return the shape of a tensor as a list, those in a nest likewise nested, else None."""
    if isinstance(value, Tensor):
        return list(value.shape)
    if isinstance(value, Mapping):
        return {key: _shape_of(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_shape_of(part) for part in value]
    return None


def _called(module: nn.Module, example: Any) -> Any:
    if isinstance(example, Mapping):
        return module(**example)
    return module(*example) if isinstance(example, list | tuple) else module(example)


def _moved(value: Any, *, like: Tensor) -> Any:
    """Return an input where a parameter is, and in its dtype: one in half takes no other input."""
    if isinstance(value, Tensor):
        floats = value.is_floating_point() and like.is_floating_point()
        return value.to(like.device, like.dtype if floats else value.dtype)
    if isinstance(value, Mapping):
        return {key: _moved(part, like=like) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_moved(part, like=like) for part in value)
    return value
