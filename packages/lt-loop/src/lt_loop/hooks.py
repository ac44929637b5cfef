"""Hooks: the table of all of them, and the binding that makes a hook nobody overrides free.

Names and arguments are Lightning's. A method that a library class provides as a documented no-op is
marked with :func:`library_default`; whatever is not marked was written by the user and is bound.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from lt_loop.spelling import closest

Fn = TypeVar("Fn", bound=Callable[..., Any])
Bound = tuple[Callable[..., Any], ...]

Owner = Literal["callback", "program", "datamodule"]
"""Who may implement a hook."""

_MARK = "__lt_default__"


def library_default(method: Fn) -> Fn:
    """Mark a method as a library's own no-op, which the engine need not call.

    Any package can set the attribute ``__lt_default__`` itself; that is all the decorator does.
    """
    setattr(method, _MARK, True)
    return method


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook: who may implement it and what it receives.

    Attributes:
        name: Lightning's name.
        arguments: what a program receives; a callback receives ``trainer, module`` before them.
        optional: how many of the last arguments an implementation may leave out.
        owners: who may implement it.
    """

    name: str
    arguments: tuple[str, ...] = ()
    optional: int = 0
    owners: frozenset[Owner] = frozenset({"callback", "program"})


_EVERYBODY: frozenset[Owner] = frozenset({"callback", "program", "datamodule"})
_CALLBACKS: frozenset[Owner] = frozenset({"callback"})
_PROGRAMS: frozenset[Owner] = frozenset({"program"})
_DATA: frozenset[Owner] = frozenset({"program", "datamodule"})
_BATCH = ("batch", "batch_idx")
_STAGES = ("validation", "test", "predict")


def _shared_hooks() -> Iterable[Hook]:
    """Yield the hooks of callbacks and programs alike."""
    for moment in ("fit", "train", *_STAGES):
        yield Hook(f"on_{moment}_start")
        yield Hook(f"on_{moment}_end")
    for stage in ("train", *_STAGES):
        yield Hook(f"on_{stage}_epoch_start")
        yield Hook(f"on_{stage}_epoch_end")
    yield Hook("on_train_batch_start", _BATCH)
    yield Hook("on_train_batch_end", ("outputs", *_BATCH))
    for stage in _STAGES:
        yield Hook(f"on_{stage}_batch_start", (*_BATCH, "dataloader_idx"), optional=1)
        yield Hook(f"on_{stage}_batch_end", ("outputs", *_BATCH, "dataloader_idx"), optional=1)
    yield Hook("on_before_zero_grad", ("optimizer",))
    yield Hook("on_before_backward", ("loss",))
    yield Hook("on_after_backward")
    yield Hook("on_before_optimizer_step", ("optimizer",))
    yield Hook("on_safe_point")
    yield Hook("setup", ("stage",), owners=_EVERYBODY)
    yield Hook("teardown", ("stage",), owners=_EVERYBODY)
    yield Hook("on_save_checkpoint", ("checkpoint",))
    yield Hook("on_load_checkpoint", ("checkpoint",))


def _callback_hooks() -> Iterable[Hook]:
    """Yield the hooks of callbacks that programs have not."""
    yield Hook("on_sanity_check_start", owners=_CALLBACKS)
    yield Hook("on_sanity_check_end", owners=_CALLBACKS)
    yield Hook("on_exception", ("exception",), owners=_CALLBACKS | {"datamodule"})
    yield Hook("on_log", ("metrics", "step"), owners=_CALLBACKS)


def _data_hooks() -> Iterable[Hook]:
    """Yield the hooks about data, of programs and datamodules."""
    yield Hook("prepare_data", owners=_DATA)
    yield Hook("on_before_batch_transfer", ("batch", "dataloader_idx"), owners=_DATA)
    yield Hook("transfer_batch_to_device", ("batch", "device", "dataloader_idx"), owners=_DATA)
    yield Hook("on_after_batch_transfer", ("batch", "dataloader_idx"), owners=_DATA)
    for stage in ("train", "val", "test", "predict"):
        yield Hook(f"{stage}_dataloader", owners=_DATA)


def _program_hooks() -> Iterable[Hook]:
    """Yield the hooks of programs alone."""
    methods: dict[str, tuple[str, ...]] = {
        "configure_model": (),
        "configure_callbacks": (),
        "configure_optimizers": (),
        "on_validation_model_zero_grad": (),
        "backward": ("loss",),
        "optimizer_step": ("epoch", "batch_idx", "optimizer", "optimizer_closure"),
        "optimizer_zero_grad": ("epoch", "batch_idx", "optimizer"),
        "lr_scheduler_step": ("scheduler", "metric"),
        "configure_gradient_clipping": (
            "optimizer",
            "gradient_clip_val",
            "gradient_clip_algorithm",
        ),
    }
    for name, arguments in methods.items():
        yield Hook(name, arguments, owners=_PROGRAMS)
    yield Hook("training_step", _BATCH, optional=1, owners=_PROGRAMS)
    for stage in _STAGES:
        yield Hook(f"on_{stage}_model_eval", owners=_PROGRAMS)
        yield Hook(f"on_{stage}_model_train", owners=_PROGRAMS)
        yield Hook(f"{stage}_step", (*_BATCH, "dataloader_idx"), optional=2, owners=_PROGRAMS)
    for stage in ("training", "validation", "test"):
        yield Hook(f"{stage}_epoch_end", ("outputs",), owners=_PROGRAMS)
        yield Hook(f"{stage}_step_end", ("outputs",), owners=_PROGRAMS)


HOOKS: dict[str, Hook] = {
    hook.name: hook
    for hook in (*_shared_hooks(), *_callback_hooks(), *_data_hooks(), *_program_hooks())
}

STEPS: dict[str, str] = {
    "train": "training_step",
    "accumulate": "training_step",
    "validate": "validation_step",
    "test": "test_step",
    "predict": "predict_step",
}
"""The steps, by the phase of a run: hooks that a loop is built around, bound on their own."""

REMOVED: dict[str, str] = {
    "on_epoch_start": "on_train_epoch_start (or the one of validation or test)",
    "on_epoch_end": "on_train_epoch_end (or the one of validation or test)",
    "on_batch_start": "on_train_batch_start",
    "on_batch_end": "on_train_batch_end",
    "on_init_start": "setup",
    "on_init_end": "setup",
    "on_configure_sharded_model": "setup",
    "on_pretrain_routine_start": "on_fit_start",
    "on_pretrain_routine_end": "on_fit_start",
    "on_keyboard_interrupt": "on_exception",
    "on_hpc_save": "on_save_checkpoint",
    "on_hpc_load": "on_load_checkpoint",
    "on_train_dataloader": "setup",
    "on_val_dataloader": "setup",
    "on_test_dataloader": "setup",
    "on_predict_dataloader": "setup",
    "on_post_move_to_device": "setup",
    "tbptt_split_batch": "training_step",
    "optimizer_idx": "training_step",
    "configure_sharded_model": "configure_model",
    "get_progress_bar_dict": "log(..., prog_bar=True)",
}
"""Hooks of earlier Lightning versions, and what to write instead."""


def overridden(owner: Any, name: str) -> Callable[..., Any] | None:
    """Return the owner's own implementation of a hook, or None where it has none."""
    method = getattr(owner, name, None)
    if method is None or getattr(method, _MARK, False):
        return None
    if not callable(method):
        raise TypeError(
            f"{type(owner).__name__}.{name} must be a method, as {name} is a hook. "
            f"Received {method!r}. Rename the attribute."
        )
    return method  # type: ignore[no-any-return]


def positional_room(method: Callable[..., Any]) -> float:
    """Return how many positional arguments a bound method takes (inf for ``*args``)."""
    kinds = [p.kind for p in inspect.signature(method).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return float("inf")
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in positional for kind in kinds)


def check_arguments(
    owner: Any, hook: Hook, method: Callable[..., Any], *, before: Sequence[str] = ()
) -> int:
    """Check that a hook can be called; return how many arguments it gets.

    Raises:
        TypeError: it takes other arguments than the hook hands out.
    """
    arguments = (*before, *hook.arguments)
    most = int(min(len(arguments), positional_room(method)))
    for count in range(most, len(arguments) - hook.optional - 1, -1):
        try:
            inspect.signature(method).bind(*arguments[:count])
        except TypeError:
            continue
        return count
    raise TypeError(
        f"{hook.name} is called with ({', '.join(arguments)}). Received "
        f"{type(owner).__name__}.{hook.name}{inspect.signature(method)}. Give it these arguments."
    )


def shortened(method: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Return a function that hands on the first ``count`` of its arguments."""
    return lambda *arguments: method(*arguments[:count])


def _as_it_is(method: Fn, name: str, owner: Any) -> Fn:
    return method


def bind(
    name: str,
    *,
    trainer: Any,
    program: Any,
    callbacks: Iterable[Any],
    own: bool = True,
    wrap: Callable[[Callable[..., Any], str, Any], Callable[..., Any]] = _as_it_is,
) -> Bound:
    """Return the implementations of a hook, callbacks before the program, ready to be called.

    All of them take the program's arguments: ``trainer`` and ``module`` are bound already.

    Args:
        name: the hook.
        trainer: what callbacks receive first.
        program: what callbacks receive second.
        callbacks: in the order of their calls.
        own: whether the program's implementation is called after them.
        wrap: takes an implementation, the name and the owner; returns what is called instead.
    """
    hook = HOOKS[name]
    bound: list[Callable[..., Any]] = []
    if "callback" in hook.owners:
        for callback in callbacks:
            if method := overridden(callback, name):
                before = () if name == "on_log" else ("trainer", "module")
                count = check_arguments(callback, hook, method, before=before)
                ready = functools.partial(method, trainer, program) if before else method
                count -= len(before)
                ready = ready if count == len(hook.arguments) else shortened(ready, count)
                bound.append(wrap(ready, name, callback))
    if own and "program" in hook.owners and (method := overridden(program, name)):
        count = check_arguments(program, hook, method)
        method = method if count == len(hook.arguments) else shortened(method, count)
        bound.append(wrap(method, name, program))
    return tuple(bound)


def check_spelling(owner: Any, kind: Owner) -> None:
    """Refuse methods that look like a hook and would never be called.

    Raises:
        TypeError: a method is a misspelt or removed hook, or a hook of another kind of owner.
    """
    allowed = [hook.name for hook in HOOKS.values() if kind in hook.owners]
    for name in _own_methods(owner):
        if name in allowed:
            continue
        where = f"{type(owner).__name__}.{name}"
        if name in REMOVED:
            raise TypeError(f"{where} is a hook that no longer exists. Use {REMOVED[name]}.")
        if name in HOOKS and name.startswith("on_"):
            raise TypeError(f"{where} is never called: {name} is no hook of a {kind}.")
        cutoff = 0.8 if name.startswith("on_") else 0.9
        if (near := closest(name, allowed, cutoff)) and overridden(owner, near) is None:
            raise TypeError(
                f"{where} is never called: a {kind} has no hook {name!r}. "
                f"Did you mean {near!r}? Rename it if it is no hook."
            )


def _own_methods(owner: Any) -> list[str]:
    """Return the public methods the user wrote: those of classes that are no library's."""
    names: dict[str, None] = {}
    for cls in type(owner).__mro__:
        methods = {k: v for k, v in vars(cls).items() if inspect.isfunction(v)}
        of_torch = getattr(cls, "__module__", "").startswith("torch.")
        if not of_torch and not any(hasattr(method, _MARK) for method in methods.values()):
            names.update(dict.fromkeys(name for name in methods if not name.startswith("_")))
    return list(names)
