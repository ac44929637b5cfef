"""Steps: what the user wrote, bound and wrapped once, so that calling it costs a call."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from lt_loop.hooks import HOOKS, STEPS, check_arguments, overridden, shortened
from lt_loop.logbook import Logbook
from lt_loop.ports import Phase
from lt_loop.run import Run

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
    program, name = run.program, STEPS[phase]
    step, taken = _bound(program, name, loaders)
    if loaders > 1 and "dataloader_idx" not in taken:
        raise TypeError(
            f"With several loaders {name} takes (batch, batch_idx, dataloader_idx). Received "
            f"{type(program).__name__}.{name}{inspect.signature(getattr(program, name))} and "
            f"{loaders} loaders."
        )
    if after := overridden(program, f"{name}_end"):
        step = _then(step, after)
    return run.profiling.hook(run.ports.backend.wrap_step(step, phase), name, program)


def check_step(program: Any, name: str) -> None:
    """Check that a step can be called; with how many loaders, only they will tell.

    Raises:
        TypeError: it takes other arguments.
    """
    _bound(program, name, 1)


def _bound(program: Any, name: str, loaders: int) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Return a step that can be called with all its arguments, and those it takes.

    A step whose parameters bear the names of the arguments gets them by name, in any order; another
    one gets as many as it takes, in Lightning's order. ``*args`` gets no index of a loader where
    there is one loader.
    """
    hook, method = HOOKS[name], getattr(program, name)
    parameters = tuple(inspect.signature(method).parameters.values())
    named = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    if "dataloader_iter" in named:
        raise TypeError(
            f"{name} is handed batches. Received {type(program).__name__}.{name}"
            f"{inspect.signature(method)}, which wants the iterator. Use trainer.steps(...), or "
            "group batches in the loader."
        )
    known = [word for word in named if word in hook.arguments]
    in_order = named[: len(hook.arguments)] == hook.arguments[: len(named)]
    if known and not in_order and (len(known) == len(named) == len(parameters)):
        places = [hook.arguments.index(word) for word in named]
        return _by_name(method, named, places), named
    for place, word in enumerate(named):
        if word in known and hook.arguments[place : place + 1] != (word,):
            raise TypeError(
                f"{name} is called with ({', '.join(hook.arguments)}). Received "
                f"{type(program).__name__}.{name}{inspect.signature(method)}, where {word} stands "
                "in another place. Name all of its parameters so, or keep the order."
            )
    count = check_arguments(program, hook, method)
    if loaders == 1 and any(p.kind is p.VAR_POSITIONAL for p in parameters):
        count = max(len(named), len(hook.arguments) - ("dataloader_idx" in hook.arguments))
    everything = count == len(hook.arguments)
    return (method if everything else shortened(method, count)), hook.arguments[:count]


def _by_name(
    method: Callable[..., Any], names: tuple[str, ...], places: list[int]
) -> Callable[..., Any]:
    return lambda *arguments: method(
        **{name: arguments[place] for name, place in zip(names, places, strict=True)}
    )


def _then(step: Callable[..., Any], after: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *arguments: after(step(*arguments))


def bind_place(run: Run, *, dataloader_idx: int = 0) -> Callable[[Any], Any]:
    """Return the function that brings a batch to where the program computes."""
    place, wrap = run.ports.backend.place, run.profiling.hook
    chain: list[Callable[[Any], Any]] = [place]
    for owner in (run.sources.datamodule, run.program):
        if owner is None:
            continue
        if transfer := overridden(owner, "transfer_batch_to_device"):
            transfer = wrap(transfer, "transfer_batch_to_device", owner)
            device = getattr(run.program, "device", None)
            chain = [partial(_transfer, transfer, device, dataloader_idx)]
            break
    for owner in (run.sources.datamodule, run.program):
        if before := overridden(owner, "on_before_batch_transfer"):
            before = wrap(before, "on_before_batch_transfer", owner)
            chain.insert(0, partial(_with_index, before, dataloader_idx))
            break
    for owner in (run.sources.datamodule, run.program):
        if after := overridden(owner, "on_after_batch_transfer"):
            after = wrap(after, "on_after_batch_transfer", owner)
            chain.append(partial(_with_index, after, dataloader_idx))
            break
    return place if chain == [place] else partial(_through, chain, run.logbook)


def _transfer(method: Callable[..., Any], device: Any, dataloader_idx: int, batch: Any) -> Any:
    return method(batch, device, dataloader_idx)


def _with_index(method: Callable[..., Any], dataloader_idx: int, batch: Any) -> Any:
    return method(batch, dataloader_idx)


def _through(chain: list[Callable[[Any], Any]], logbook: Logbook, batch: Any) -> Any:
    with logbook.closed():
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
