"""Steps: what the user wrote, bound and wrapped once, so that calling it costs a call."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from lt_loop.hooks import HOOKS, check_arguments, overridden
from lt_loop.ports import Phase
from lt_loop.run import Run

STEP_NAMES: dict[Phase, str] = {
    "train": "training_step",
    "validate": "validation_step",
    "test": "test_step",
    "predict": "predict_step",
}

TrainStep = Callable[[Any, int, int, bool], tuple[Any, bool | None]]
"""Takes batch, index, window size and whether the batch closes its window; returns what
``training_step`` returned, and True where an optimizer stepped, False where a scaler skipped the
step, None where there was nothing to step yet."""


def bind_step(run: Run, phase: Phase, *, loaders: int = 1) -> Callable[..., Any]:
    """Return the program's step, called with as many arguments as it takes, and wrapped.

    Args:
        run: the run.
        phase: which of the four steps.
        loaders: with several, the step must take ``dataloader_idx``.

    Raises:
        TypeError: the step takes other arguments.
    """
    program, name = run.program, STEP_NAMES[phase]
    method = getattr(program, name)
    count = check_arguments(program, HOOKS[name], method)
    several = 3
    if loaders > 1 and count < several:
        raise TypeError(
            f"With several loaders {name} takes (batch, batch_idx, dataloader_idx). Received "
            f"{type(program).__name__}.{name}{inspect.signature(method)} and {loaders} loaders."
        )
    step = method if count == len(HOOKS[name].arguments) else _first(method, count)
    if after := overridden(program, f"{name}_end"):
        step = _then(step, after)
    return run.ports.backend.wrap_step(step, phase)


def _first(method: Callable[..., Any], count: int) -> Callable[..., Any]:
    return lambda *arguments: method(*arguments[:count])


def _then(step: Callable[..., Any], after: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *arguments: after(step(*arguments))


def bind_place(run: Run, *, dataloader_idx: int = 0) -> Callable[[Any], Any]:
    """Return the function that brings a batch to where the program computes."""
    place = run.ports.backend.place
    chain: list[Callable[[Any], Any]] = [place]
    for owner in (run.sources.datamodule, run.program):
        if owner is None:
            continue
        if transfer := overridden(owner, "transfer_batch_to_device"):
            device = getattr(run.program, "device", None)
            chain = [partial(_transfer, transfer, device, dataloader_idx)]
            break
    for owner in (run.sources.datamodule, run.program):
        if before := overridden(owner, "on_before_batch_transfer"):
            chain.insert(0, partial(_with_index, before, dataloader_idx))
            break
    for owner in (run.sources.datamodule, run.program):
        if after := overridden(owner, "on_after_batch_transfer"):
            chain.append(partial(_with_index, after, dataloader_idx))
            break
    return place if chain == [place] else partial(_through, chain)


def _transfer(method: Callable[..., Any], device: Any, dataloader_idx: int, batch: Any) -> Any:
    return method(batch, device, dataloader_idx)


def _with_index(method: Callable[..., Any], dataloader_idx: int, batch: Any) -> Any:
    return method(batch, dataloader_idx)


def _through(chain: list[Callable[[Any], Any]], batch: Any) -> Any:
    for link in chain:
        batch = link(batch)
    return batch


def loss_of(output: Any) -> Any:
    """Return the loss in what ``training_step`` returned, None where the batch is skipped.

    Raises:
        TypeError: there is none in it.
    """
    if output is None:
        return None
    if isinstance(output, dict):
        if "loss" in output:
            return output["loss"]
        raise TypeError(
            "A dict returned by training_step holds the loss under 'loss'. Received the keys "
            f"{sorted(map(str, output))}. Add 'loss', or return None to skip the batch."
        )
    if isinstance(output, (list, tuple, str)):
        raise TypeError(
            "training_step returns a loss, a dict with 'loss', or None. Received "
            f"{type(output).__name__}. Return the loss itself."
        )
    return output


def detached(value: Any) -> Any:
    """Return an output without its graph, so that it can be kept."""
    if isinstance(value, dict):
        return {key: detached(part) for key, part in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(detached(part) for part in value)
    return value.detach() if hasattr(value, "detach") else value


def as_outputs(output: Any) -> Any:
    """Return what ``on_train_batch_end`` receives: a dict with ``"loss"``, empty without one."""
    if output is None:
        return {}
    if isinstance(output, dict):
        return detached(output)
    return {"loss": output.detach() if hasattr(output, "detach") else output}
