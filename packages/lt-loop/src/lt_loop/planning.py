"""Planning: everything that can be known to be wrong before anything runs is refused here."""

from collections.abc import Iterable
from typing import Any

from lt_loop.callback import Callback
from lt_loop.hooks import check_spelling, overridden
from lt_loop.run import Function
from lt_loop.sources import LoaderStage, Sources
from lt_loop.spelling import closest

_NEEDS: dict[Function, tuple[str, ...]] = {
    "fit": ("training_step", "configure_optimizers"),
    "validate": ("validation_step",),
    "test": ("test_step",),
    "predict": ("predict_step",),
}


def check_program(program: Any, fn: Function) -> None:
    """Check that a program has what a run calls.

    Raises:
        TypeError: it is a class, lacks a step, or has a misspelt hook.
        ValueError: it asks for what this version can't do.
    """
    if isinstance(program, type):
        raise TypeError(
            f"{fn} takes a module. Received the class {program.__name__}. "
            f"Make an instance: {program.__name__}(...)."
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
    check_spelling(program, callback=False)
    if not getattr(program, "automatic_optimization", True):
        raise ValueError(
            "This version steps the optimizer itself. Received a module with "
            "automatic_optimization=False. Leave it True, or write the loop with lt_accel alone."
        )


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
        check_spelling(callback, callback=True)
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
    returned = [returned] if isinstance(returned, Callback) else list(returned or ())
    return check_callbacks(returned, argument="configure_callbacks")


def combined(given: Iterable[Callback], own: Iterable[Callback]) -> tuple[Callback, ...]:
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
