"""Who listens to a hook is known before a run, and a hook that would never be called is refused."""

import functools
from collections.abc import Callable
from typing import Any, get_args

import pytest
from toys import Line

from lt_loop import Callback
from lt_loop.hooks import (
    HOOKS,
    REMOVED,
    Hook,
    Owner,
    bind,
    check_arguments,
    check_spelling,
    library_default,
    overridden,
    positional_room,
)

# The table


def test_each_hook_stands_under_its_name_and_has_an_owner() -> None:
    for name, hook in HOOKS.items():
        assert hook.name == name
        assert hook.owners
        assert hook.owners <= set(get_args(Owner))
        assert hook.optional <= len(hook.arguments)


@pytest.mark.parametrize("name", REMOVED)
def test_a_removed_hook_is_answered_with_one_that_exists(name: str) -> None:
    instead = REMOVED[name].split(" ", maxsplit=1)[0]

    assert name not in HOOKS
    assert instead in HOOKS or instead.startswith("log(")


@pytest.mark.parametrize("stage", ["validation", "test", "predict"])
def test_evaluations_have_the_same_hooks(stage: str) -> None:
    """Each of them, and no other loop, tells the loaders apart."""

    def shape(of: str) -> set[tuple[str, Hook]]:
        return {
            (name.replace(of, "*"), Hook("*", hook.arguments, hook.optional, hook.owners))
            for name, hook in HOOKS.items()
            if name.startswith(f"on_{of}_") and not name.endswith("zero_grad")
        }

    assert shape(stage) == shape("test")
    assert HOOKS[f"on_{stage}_batch_end"].arguments == (
        *("outputs", "batch", "batch_idx", "dataloader_idx"),
    )


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("training_step", ["batch"]),
        ("validation_step", ["batch"]),
        ("on_train_batch_start", ["batch", "batch_idx"]),
        ("on_test_batch_start", ["batch", "batch_idx"]),
        ("on_test_batch_end", ["outputs", "batch", "batch_idx"]),
    ],
)
def test_only_what_says_where_a_batch_came_from_may_be_left_out(
    name: str, least: list[str]
) -> None:
    hook = HOOKS[name]

    assert list(hook.arguments[: len(hook.arguments) - hook.optional]) == least


# What counts as an override


class Library:
    """A base class with documented defaults, as a package may have one."""

    @library_default
    def on_train_start(self) -> None:
        raise AssertionError("a default is never called")


class Overriding(Library):
    def on_train_start(self) -> None:
        """Do nothing, but on purpose."""


def test_a_default_is_no_override() -> None:
    assert overridden(Library(), "on_train_start") is None
    assert overridden(object(), "on_train_start") is None


def test_an_override_is_one_also_where_it_does_nothing() -> None:
    program = Overriding()

    assert overridden(program, "on_train_start") == program.on_train_start


def test_a_package_may_mark_its_defaults_without_importing_this_one() -> None:
    class Elsewhere:
        def on_train_start(self) -> None:
            raise AssertionError("a default is never called")

        on_train_start.__lt_default__ = True  # type: ignore[attr-defined]

    assert overridden(Elsewhere(), "on_train_start") is None


def test_an_attribute_of_the_object_goes_before_its_class() -> None:
    program, other = Overriding(), Library()
    program.on_train_start = None  # type: ignore[assignment, method-assign]
    other.on_train_start = print  # type: ignore[assignment, method-assign]

    assert overridden(program, "on_train_start") is None
    assert overridden(other, "on_train_start") is print


def test_an_attribute_in_the_place_of_a_hook_is_refused() -> None:
    class Program:
        train_dataloader = (1, 2, 3)

    message = (
        r"^Program\.train_dataloader must be a method, as train_dataloader is a hook\. "
        r"Received \(1, 2, 3\)\. Rename the attribute\.$"
    )
    with pytest.raises(TypeError, match=message):
        overridden(Program(), "train_dataloader")


# Arguments


class Owned:
    """Has one hook of three arguments in many forms."""

    def exact(self, a: Any, b: Any, c: Any) -> None: ...

    def short(self, a: Any, b: Any) -> None: ...

    def shorter(self, a: Any) -> None: ...

    def none(self) -> None: ...

    def all(self, *arguments: Any) -> None: ...

    def rest(self, a: Any, *arguments: Any) -> None: ...

    def default(self, a: Any, b: Any, c: Any = 0) -> None: ...

    def more(self, a: Any, b: Any, c: Any, d: Any = 0) -> None: ...

    def too_many(self, a: Any, b: Any, c: Any, d: Any) -> None: ...

    def keyword(self, a: Any, b: Any, c: Any, *, d: Any) -> None: ...

    def keyword_default(self, a: Any, b: Any, c: Any, *, d: Any = 0) -> None: ...

    @staticmethod
    def static(a: Any, b: Any, c: Any) -> None: ...

    partial = functools.partialmethod(too_many, 0)


@pytest.mark.parametrize(
    ("form", "room"),
    [("exact", 3), ("none", 0), ("default", 3), ("more", 4), ("keyword", 3), ("static", 3)],
)
def test_positional_arguments_are_counted(form: str, room: int) -> None:
    assert positional_room(getattr(Owned(), form)) == room


@pytest.mark.parametrize("form", ["all", "rest"])
def test_there_is_room_for_any_number_of_arguments(form: str) -> None:
    assert positional_room(getattr(Owned(), form)) == float("inf")


@pytest.mark.parametrize(
    ("form", "optional", "count"),
    [
        *((form, 0, 3) for form in ("exact", "all", "rest", "default", "more")),
        *((form, 0, 3) for form in ("keyword_default", "static", "partial")),
        ("exact", 2, 3),
        ("short", 1, 2),
        ("shorter", 2, 1),
        ("none", 3, 0),
    ],
)
def test_a_hook_gets_as_many_arguments_as_it_takes(form: str, optional: int, count: int) -> None:
    hook = Hook(form, ("a", "b", "c"), optional=optional)

    assert check_arguments(Owned(), hook, getattr(Owned(), form)) == count


@pytest.mark.parametrize(
    ("form", "optional"),
    [("short", 0), ("shorter", 1), ("none", 2), ("too_many", 0), ("keyword", 2)],
)
def test_a_hook_that_takes_other_arguments_is_refused(form: str, optional: int) -> None:
    hook = Hook(form, ("a", "b", "c"), optional=optional)
    message = (
        rf"^{form} is called with \(a, b, c\)\. Received Owned\.{form}\(.*\) -> None\. "
        r"Give it these arguments\.$"
    )
    with pytest.raises(TypeError, match=message):
        check_arguments(Owned(), hook, getattr(Owned(), form))


# Binding


class Recorder(Callback):
    """Writes down the arguments of its hooks, which are given it by name."""

    def __init__(self, calls: list[Any], **hooks: Callable[..., Any]) -> None:
        self.calls = calls
        for name, hook in hooks.items():
            setattr(self, name, hook)


def test_hooks_of_callbacks_come_first_and_know_trainer_and_module() -> None:
    calls: list[Any] = []

    class Program:
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            calls.append((batch, batch_idx))

    def hook(*arguments: Any) -> None:
        calls.append(arguments)

    callback, program = Recorder(calls, on_train_batch_start=hook), Program()
    bound = bind("on_train_batch_start", trainer="t", program=program, callbacks=[callback] * 2)
    for implementation in bound:
        implementation("batch", 7)

    assert calls == [("t", program, "batch", 7)] * 2 + [("batch", 7)]


def test_both_may_leave_out_the_loader() -> None:
    calls: list[Any] = []

    class Program:
        def on_test_batch_start(self, batch: Any, batch_idx: int) -> None:
            calls.append((batch, batch_idx))

    def hook(trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        calls.append((trainer, batch, batch_idx))

    callbacks = [Recorder(calls, on_test_batch_start=hook)]
    for implementation in bind(
        "on_test_batch_start", trainer="t", program=Program(), callbacks=callbacks
    ):
        implementation("batch", 7, 0)

    assert calls == [("t", "batch", 7), ("batch", 7)]


def test_a_logger_needs_neither_trainer_nor_module() -> None:
    calls: list[Any] = []
    callback = Recorder(calls, on_log=lambda metrics, step: calls.append((metrics, step)))

    (on_log,) = bind("on_log", trainer="t", program=object(), callbacks=[callback])
    on_log({"x": 1.0}, 7)

    assert calls == [({"x": 1.0}, 7)]


def test_only_owners_of_a_hook_are_asked() -> None:
    class Program:
        def on_log(self, metrics: Any, step: int) -> None:
            raise NotImplementedError

        on_exception = on_sanity_check_start = on_log

    callback = Recorder([], training_step=print, configure_optimizers=print)
    names = ["on_log", "on_exception", "on_sanity_check_start", "training_step"]

    for name in [*names, "configure_optimizers"]:
        assert bind(name, trainer=None, program=Program(), callbacks=[callback]) == ()


def test_arguments_are_checked_when_a_hook_is_bound() -> None:
    class Wrong(Callback):
        def on_train_start(self, trainer: Any) -> None:  # type: ignore[override]
            raise NotImplementedError

    message = (
        r"^on_train_start is called with \(trainer, module\)\. "
        r"Received Wrong\.on_train_start\(trainer: .*\) -> None\. Give it these arguments\.$"
    )
    with pytest.raises(TypeError, match=message):
        bind("on_train_start", trainer=None, program=object(), callbacks=[Wrong()])


# Spelling


def owner(name: str, base: type = object) -> Any:
    return type("Mine", (base,), {name: lambda self: None})()


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("program", "on_train_epoch_ends", "on_train_epoch_end"),
        ("program", "on_train_epoche_end", "on_train_epoch_end"),
        ("program", "validation_steps", "validation_step"),
        ("program", "train_dataloaders", "train_dataloader"),
        ("program", "on_validaton_end", "on_validation_end"),
        ("callback", "on_fit_starts", "on_fit_start"),
        ("callback", "on_exeption", "on_exception"),
        ("datamodule", "val_dataloaders", "val_dataloader"),
        ("datamodule", "prepare_datas", "prepare_data"),
    ],
)
def test_a_misspelt_hook_is_refused(kind: Any, name: str, near: str) -> None:
    message = (
        rf"^Mine\.{name} is never called: a {kind} has no hook '{name}'\. "
        rf"Did you mean '{near}'\? Rename it if it is no hook\.$"
    )
    with pytest.raises(TypeError, match=message):
        check_spelling(owner(name, Callback if kind == "callback" else object), kind)


@pytest.mark.parametrize("kind", ["program", "callback", "datamodule"])
@pytest.mark.parametrize("name", REMOVED)
def test_a_hook_of_an_earlier_lightning_is_refused(kind: Any, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_spelling(owner(name), kind)

    message = f"Mine.{name} is a hook that no longer exists. Use {REMOVED[name]}."
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("program", "on_sanity_check_start"),
        ("program", "on_log"),
        ("callback", "on_validation_model_eval"),
        ("callback", "on_before_batch_transfer"),
        ("datamodule", "on_train_start"),
    ],
)
def test_a_hook_of_another_kind_of_owner_is_refused(kind: Any, name: str) -> None:
    message = rf"^Mine\.{name} is never called: {name} is no hook of a {kind}\.$"
    with pytest.raises(TypeError, match=message):
        check_spelling(owner(name), kind)


@pytest.mark.parametrize(
    "name",
    ["forward", "loss", "step", "plot", "on_my_way", "_on_train_epoch_ends", "training_step"],
)
def test_other_methods_are_left_alone(name: str) -> None:
    check_spelling(owner(name), "program")


def test_a_name_like_that_of_a_hook_is_fine_beside_the_hook_itself() -> None:
    class Program(Line):
        def test_steps(self) -> int:
            return 3

    check_spelling(Program(), "program")


def test_methods_of_the_users_base_classes_are_looked_at_too() -> None:
    class Base:
        def on_train_epoch_ends(self) -> None:
            raise NotImplementedError

    class Program(Base, Library):
        pass

    with pytest.raises(TypeError, match=r"^Program\.on_train_epoch_ends is never called"):
        check_spelling(Program(), "program")


def test_methods_of_a_library_are_its_own_business() -> None:
    class Base(Library):
        @library_default
        def on_train_end(self) -> None:
            raise NotImplementedError

        def on_train_epoch_ends(self) -> None:
            raise NotImplementedError

    check_spelling(type("Program", (Base,), {})(), "program")


def test_a_mixin_behind_the_class_of_the_library_is_checked_too() -> None:
    class Mixin:
        def on_train_ends(self) -> None: ...

    class Mixed(Callback, Mixin):
        pass

    with pytest.raises(TypeError, match=r"Mixed\.on_train_ends is never called.*'on_train_end'"):
        check_spelling(Mixed(), "callback")
