"""Planning: everything that can be known to be wrong before anything runs is refused here."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lt_loop.attachment import attach, give_back
from lt_loop.callback import Callback
from lt_loop.checkpoints import Checkpoint, Restarted, find_state
from lt_loop.hooks import HOOKS, STEPS, check_arguments, check_spelling, overridden
from lt_loop.limits import Limits
from lt_loop.preview import Preview, preview
from lt_loop.run import Function, Ports, Run
from lt_loop.sources import WORDS, LoaderStage, Sources
from lt_loop.spelling import closest
from lt_loop.steps import check_step

if TYPE_CHECKING:
    from lt_loop.trainer import Trainer

_NEEDS: dict[Function, tuple[str, ...]] = {
    "fit": ("training_step", "configure_optimizers"),
    "validate": ("validation_step",),
    "test": ("test_step",),
    "predict": ("predict_step",),
}


def plan_run(  # noqa: PLR0913 - what a call of fit, validate, test or predict says
    fn: Function,
    *,
    trainer: "Trainer",
    last: Run | None,
    model: Any,
    loaders: Mapping[LoaderStage, Any],
    datamodule: Any,
    ports: Ports,
    resume: Checkpoint | Restarted | None,
) -> Run:
    """Plan one run: settle who takes part, and check everything that can be checked.

    Args:
        fn: what is asked for.
        trainer: who asks.
        last: its last run, whose program and datamodule are taken where none are given.
        model: the program.
        loaders: those of the call, by stage; a datamodule may stand in place of the first.
        datamodule: where loaders come from instead.
        ports: those of the trainer.
        resume: a state, or the name of one: to go on from, or to evaluate.

    Raises:
        RuntimeError: the last run is still under way.
        TypeError: something is not what it must be, or has a misspelt hook.
        ValueError: two things contradict each other, or a loader is missing.
    """
    check_free(last, fn)
    model, datamodule, loaders = participants(
        fn, last=last, model=model, loaders=loaders, datamodule=datamodule
    )
    sources = Sources(model, datamodule, loaders)
    check_sources(model, sources, fn)
    before = attach(trainer, (model, datamodule))  # configure_callbacks may look at it
    try:
        callbacks = _combined(trainer.callbacks, own_callbacks(model))
    finally:
        give_back(before)
    check_states(callbacks)
    run = Run(
        fn,
        trainer=trainer,
        program=model,
        sources=sources,
        callbacks=callbacks,
        limits=planned_limits(trainer.limits, callbacks),
        ports=ports,
    )
    for phase in ("train", "validate") if fn == "fit" else (fn,):
        if overridden(model, STEPS[phase]):
            check_step(model, STEPS[phase])
    run.asked_for = resume
    if not getattr(ports.world, "starts_processes", False):  # else they load it themselves
        run.resume = _state_to_go_on_from(run, resume)
    if fn != "fit" and last is not None and last.program is model:
        run.progress = dataclasses.replace(last.progress)  # that of the weights it has
    return run


def _state_to_go_on_from(run: Run, resume: Checkpoint | Restarted | None) -> dict[str, Any] | None:
    attached = [(callback, callback.attach(run.trainer)) for callback in run.callbacks]
    try:  # where a callback's checkpoints are may depend on the trainer
        return find_state(
            resume,
            callbacks=run.callbacks,
            store=run.ports.store,
            world=run.ports.world,
            may_be_missing=run.fn == "fit",
        )
    finally:
        for callback, before in attached:
            callback.attach(before)


def plan_preview(  # noqa: PLR0913 - as above
    fn: Function,
    *,
    trainer: "Trainer",
    last: Run | None,
    model: Any,
    loaders: Mapping[LoaderStage, Any],
    datamodule: Any,
    ports: Ports,
) -> Preview:
    """Check a run as :func:`plan_run` does, and tell what it will do. Nothing is changed by it."""
    model, datamodule, loaders = participants(
        fn, last=last, model=model, loaders=loaders, datamodule=datamodule
    )
    check_states(trainer.callbacks)
    sources = Sources(model, datamodule, loaders)
    check_sources(model, sources, fn)
    return preview(
        fn,
        program=model,
        sources=sources,
        callbacks=trainer.callbacks,
        limits=planned_limits(trainer.limits, trainer.callbacks),
        ports=ports,
    )


def planned_limits(limits: Limits, callbacks: Iterable[Callback]) -> Limits:
    """Return the limits of a run: the trainer's, as its callbacks change them."""
    for callback in callbacks:
        limits = callback.plan_limits(limits)
    return limits


def participants(
    fn: Function,
    *,
    last: Run | None,
    model: Any,
    loaders: Mapping[LoaderStage, Any],
    datamodule: Any,
) -> tuple[Any, Any, Mapping[LoaderStage, Any]]:
    """Settle who takes part in a run: program, datamodule, loaders. The arguments are those above.

    Raises:
        TypeError: something is not what it must be, or has a misspelt hook.
    """
    if model is None and last is not None:
        given = any(loader is not None for loader in loaders.values())
        model = last.program
        datamodule = datamodule or (None if given else last.sources.datamodule)
    first = next(iter(loaders))
    if callable(getattr(loaders[first], f"{WORDS[first]}_dataloader", None)):
        datamodule, loaders = loaders[first], {**loaders, first: None}
    check_program(model, fn)
    check_datamodule(datamodule, fn)
    return model, datamodule, loaders


def check_free(last: Run | None, fn: Function) -> None:
    """Check that a trainer can begin a run: none of it is under way.

    Raises:
        RuntimeError: its last run is.
    """
    if last is not None and last.under_way:
        raise RuntimeError(
            f"A trainer does one run at a time. Received a call of {fn} while {last.fn} is under "
            "way. Wait for its end, close it (what steps() returned has close()), or use a second "
            "Trainer."
        )


def check_program(program: Any, fn: Function) -> None:
    """Check that a program has what a run calls.

    Raises:
        TypeError: there is none, it is a class, lacks a step, or has a misspelt hook.
    """
    if program is None:
        raise TypeError(
            f"{fn} takes a module. Received none, and this trainer has not run one before. "
            f"Pass it: trainer.{fn}(model)."
        )
    if isinstance(program, type):
        raise TypeError(
            f"{fn} takes a module. Received the class {program.__name__}. "
            f"Make an instance: {program.__name__}(...)."
        )
    if hasattr(program, "_orig_mod"):
        raise TypeError(
            f"{fn} takes the module itself, whose steps are called. Received what torch.compile "
            "made of one, of which only the call is compiled. Call model.compile() instead."
        )
    for name in _NEEDS[fn]:
        method = getattr(program, name, None)
        predicts = name == "predict_step" and method is not None
        if predicts or overridden(program, name) is not None:
            continue
        near = closest(name, [n for n in dir(type(program)) if n != name and name not in n], 0.75)
        hint = f" It has {near!r}: is that a misspelling?" if near else ""
        raise TypeError(
            f"{fn} needs a module with {' and '.join(_NEEDS[fn])}. Received "
            f"{type(program).__name__} without {name}.{hint} Write {name}."
        )
    check_spelling(program, "program")


def check_datamodule(datamodule: Any, fn: Function) -> None:
    """Check that a datamodule is an object whose hooks are called.

    Raises:
        TypeError: it is a class or has a misspelt hook.
    """
    if isinstance(datamodule, type):
        raise TypeError(
            f"{fn} takes a datamodule. Received the class {datamodule.__name__}. "
            f"Make an instance: {datamodule.__name__}(...)."
        )
    if datamodule is not None:
        check_spelling(datamodule, "datamodule")
        for hook in HOOKS.values():
            if "datamodule" in hook.owners and (method := overridden(datamodule, hook.name)):
                check_arguments(datamodule, hook, method)


def check_callbacks(callbacks: Iterable[Any], *, argument: str) -> tuple[Callback, ...]:
    """Check that each callback is one.

    Raises:
        TypeError: it is a class, a string or something else, or has a misspelt hook.
    """
    checked = []
    for callback in callbacks:
        if isinstance(callback, type):
            raise TypeError(
                f"{argument} takes callbacks as objects. Received the class {callback.__name__}. "
                f"Make an instance: {callback.__name__}(...)."
            )
        if not isinstance(callback, Callback):
            raise TypeError(
                f"{argument} takes instances of Callback. Received {callback!r} of type "
                f"{type(callback).__name__}. Subclass lt_loop.Callback."
            )
        check_spelling(callback, "callback")
        checked.append(callback)
    return tuple(checked)


def check_states(callbacks: Iterable[Callback]) -> None:
    """Check that the states of callbacks can be told apart in a checkpoint.

    Raises:
        ValueError: two callbacks with state have the same ``state_key``.
    """
    seen: set[str] = set()
    for callback in callbacks:
        if overridden(callback, "state_dict") is None:
            continue
        if callback.state_key in seen:
            raise ValueError(
                "Callbacks with state need different keys. Received state_key="
                f"{callback.state_key!r} twice. Override state_key, or drop one of them."
            )
        seen.add(callback.state_key)


def own_callbacks(program: Any) -> tuple[Callback, ...]:
    """Return what ``configure_callbacks`` of the program returns."""
    configure = overridden(program, "configure_callbacks")
    if configure is None:
        return ()
    returned = configure()
    returned = () if returned is None else returned
    if not isinstance(returned, list | tuple | set):
        returned = [returned]
    return check_callbacks(returned, argument="configure_callbacks")


def _combined(given: Iterable[Callback], own: Iterable[Callback]) -> tuple[Callback, ...]:
    """Return the trainer's callbacks and the program's, which replace those of the same type."""
    own = tuple(own)
    types = {type(callback) for callback in own}
    return (*(callback for callback in given if type(callback) not in types), *own)


def check_sources(program: Any, sources: Sources, fn: Function) -> None:
    """Check that a run has the loaders it needs.

    Raises:
        ValueError: there is none, or one that nobody would read.
    """
    stage: LoaderStage = "train" if fn == "fit" else fn
    word = "val" if stage == "validate" else stage
    if not sources.has(stage):
        raise ValueError(
            f"{fn} needs a {word} loader. Received none. Pass one to {fn}(), or write "
            f"{word}_dataloader() on {type(program).__name__} or on a datamodule."
        )
    if fn == "fit" and sources.given("validate") and overridden(program, "validation_step") is None:
        raise ValueError(
            "Validation loaders are read by validation_step. Received val_dataloaders for "
            f"{type(program).__name__}, which has none. Write it, or drop the loaders."
        )
