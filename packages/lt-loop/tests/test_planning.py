"""What can be known to be wrong is refused before anything runs, with what to do about it."""

from pathlib import Path
from typing import Any

import pytest
from toys import Calling, Line, batches, make_trainer

from lt_loop import Callback, Progress
from lt_loop.hooks import library_default
from lt_loop.planning import (
    check_callbacks,
    check_datamodule,
    check_program,
    check_sources,
    check_states,
    own_callbacks,
)
from lt_loop.solo import NoStore
from lt_loop.sources import Sources

DATA = batches(3)
FUNCTIONS = ["fit", "validate", "test", "predict"]


# The program


class Defaults:
    """Has documented defaults, as LTModule has; its predict_step is one that works."""

    @library_default
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        raise AssertionError("a default is not called")

    configure_optimizers = validation_step = test_step = training_step

    @library_default
    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_a_program_with_all_steps_can_do_all(fn: Any) -> None:
    check_program(Line(), fn)


@pytest.mark.parametrize("program", [object(), Defaults()], ids=type)
@pytest.mark.parametrize(
    ("fn", "needs", "lacks"),
    [
        ("fit", "training_step and configure_optimizers", "training_step"),
        ("validate", "validation_step", "validation_step"),
        ("test", "test_step", "test_step"),
    ],
)
def test_a_step_that_is_missing_is_named(program: Any, fn: Any, needs: str, lacks: str) -> None:
    message = (
        rf"^{fn} needs a module with {needs}\. Received {type(program).__name__} without "
        rf"{lacks}\. Write {lacks}\.$"
    )
    with pytest.raises(TypeError, match=message):
        check_program(program, fn)


def test_a_default_is_enough_to_predict_with_but_none_is_not() -> None:
    check_program(Defaults(), "predict")

    with pytest.raises(
        TypeError, match=r"^predict needs a module with predict_step\. Received obj"
    ):
        check_program(object(), "predict")


@pytest.mark.parametrize(
    ("fn", "written", "meant"),
    [
        ("fit", "trainingstep", "training_step"),
        ("fit", "train_step", "training_step"),
        ("validate", "val_step", "validation_step"),
        ("validate", "validaton_step", "validation_step"),
        ("test", "tests_step", "test_step"),
    ],
)
def test_a_step_under_another_name_is_noticed(fn: Any, written: str, meant: str) -> None:
    program = type("Mine", (), {written: lambda self, batch: None})()
    hint = rf" It has '{written}': is that a misspelling\?" if written != "val_step" else ""
    message = rf"Received Mine without {meant}\.{hint} Write {meant}\.$"
    with pytest.raises(TypeError, match=message):
        check_program(program, fn)


def test_a_program_without_an_optimizer_can_not_be_fitted() -> None:
    class Stepping:
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"Stepping without configure_optimizers\. Write configure"):
        check_program(Stepping(), "fit")


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_a_class_is_no_program(fn: Any) -> None:
    message = rf"^{fn} takes a module\. Received the class Line\. Make an instance: Line\(\.\.\.\)"
    with pytest.raises(TypeError, match=message):
        check_program(Line, fn)


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_there_must_be_a_program(fn: Any) -> None:
    message = (
        rf"^{fn} takes a module\. Received none, and this trainer has not run one before\. "
        rf"Pass it: trainer\.{fn}\(model\)\.$"
    )
    with pytest.raises(TypeError, match=message):
        check_program(None, fn)


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_a_misspelt_hook_is_refused_whatever_is_run(fn: Any) -> None:
    class Misspelt(Line):
        def on_train_epoch_ends(self) -> None:
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"Did you mean 'on_train_epoch_end'\?"):
        check_program(Misspelt(), fn)


# The datamodule


def test_a_class_is_no_datamodule() -> None:
    class Digits:
        def train_dataloader(self) -> Any:
            raise NotImplementedError

    message = (
        r"^fit takes a datamodule\. Received the class Digits\. Make an instance: Digits\(\.\.\.\)"
    )
    with pytest.raises(TypeError, match=message):
        make_trainer().fit(Line(), datamodule=Digits)
    check_datamodule(Digits(), "fit")
    check_datamodule(None, "fit")


def test_a_misspelt_hook_of_a_datamodule_is_refused() -> None:
    class Digits:
        def train_dataloaders(self) -> Any:
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"^Digits\.train_dataloaders .*'train_dataloader'\?"):
        check_datamodule(Digits(), "fit")


# Callbacks


class Counter(Callback):
    """A callback with a state."""

    def state_dict(self) -> dict[str, Any]:
        return {"count": 3}


class Other(Counter):
    pass


class Keyed(Counter):
    state_key = "mine"  # type: ignore[assignment]


def test_callbacks_stay_in_their_order() -> None:
    given = [Counter(), Callback(), Counter()]

    assert check_callbacks(given, argument="callbacks") == tuple(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Counter, r"callbacks as objects\. Received the class Counter\. Make an instance: Counter"),
        ("Counter", r"instances of Callback\. Received 'Counter' of type str\. Subclass lt_loop\."),
        (None, r"instances of Callback\. Received None of type NoneType\. Subclass lt_loop\.Call"),
    ],
    ids=str,
)
def test_what_is_no_callback_is_refused_by_the_name_of_the_argument(
    given: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=rf"^logger takes {message}"):
        check_callbacks([Callback(), given], argument="logger")


def test_a_misspelt_hook_of_a_callback_is_refused() -> None:
    class Misspelt(Callback):
        def on_validaton_end(self, trainer: Any, module: Any) -> None:
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"^Misspelt\.on_validaton_end .*'on_validation_end'\?"):
        make_trainer(callbacks=Misspelt())


@pytest.mark.parametrize(
    "callbacks", [[Callback(), Callback()], [Counter(), Other()], [Counter(), Keyed()]]
)
def test_callbacks_whose_states_can_be_told_apart(callbacks: list[Callback]) -> None:
    check_states(callbacks)


@pytest.mark.parametrize(("cls", "key"), [(Counter, "Counter"), (Keyed, "mine")])
def test_callbacks_whose_states_can_not_be_told_apart_are_refused(
    cls: type[Callback], key: str
) -> None:
    message = (
        rf"^Callbacks with state need different keys\. Received state_key='{key}' twice\. "
        r"Override state_key, or drop one of them\.$"
    )
    with pytest.raises(ValueError, match=message):
        check_states([cls(), Callback(), cls()])


ONE = Counter()


@pytest.mark.parametrize(
    ("returned", "expected"),
    [(ONE, (ONE,)), ([ONE], (ONE,)), ((ONE,), (ONE,)), (None, ()), ([], ())],
)
def test_a_program_may_bring_callbacks(returned: Any, expected: tuple[Callback, ...]) -> None:
    class Bringing:
        def configure_callbacks(self) -> Any:
            return returned

    assert own_callbacks(Bringing()) == expected
    assert own_callbacks(object()) == ()


def test_what_a_program_brings_is_checked() -> None:
    class Bringing:
        def configure_callbacks(self) -> Any:
            return [Counter]

    with pytest.raises(TypeError, match=r"^configure_callbacks takes callbacks as objects"):
        own_callbacks(Bringing())


# Loaders


@pytest.mark.parametrize(
    ("fn", "word"),
    [("fit", "train"), ("validate", "val"), ("test", "test"), ("predict", "predict")],
)
def test_a_loader_that_is_missing_is_named(fn: Any, word: str) -> None:
    message = (
        rf"^{fn} needs a {word} loader\. Received none\. Pass one to {fn}\(\), or write "
        rf"{word}_dataloader\(\) on Line or on a datamodule\.$"
    )
    with pytest.raises(ValueError, match=message):
        check_sources(Line(), Sources(Line(), None, {}), fn)


def test_validation_loaders_that_nobody_would_read_are_refused() -> None:
    class OnlyTraining:
        training_step, configure_optimizers = Line.training_step, Line.configure_optimizers

    message = (
        r"^Validation loaders are read by validation_step\. Received val_dataloaders for "
        r"OnlyTraining, which has none\. Write it, or drop the loaders\.$"
    )
    with pytest.raises(ValueError, match=message):
        make_trainer().fit(OnlyTraining(), DATA, DATA)


def test_a_datamodule_may_have_more_than_is_read() -> None:
    class Both:
        def train_dataloader(self) -> Any:
            raise NotImplementedError

        def val_dataloader(self) -> Any:
            raise NotImplementedError

    check_sources(object(), Sources(object(), Both(), {}), "fit")


# The whole plan


def test_a_run_that_can_not_be_planned_leaves_the_last_one_as_it_was() -> None:
    model, trainer = Line(), make_trainer(max_epochs=1)
    result = trainer.fit(model, DATA)

    with pytest.raises(ValueError, match="needs a test loader"):
        trainer.test(model)

    assert trainer.result is result
    assert trainer.capture()["loops"]["progress"]["steps"] == 3
    assert len(trainer.test(dataloaders=DATA)) == 1


def test_nobody_is_called_by_a_plan_that_fails() -> None:
    setup = Calling("setup", lambda trainer: None)

    with pytest.raises(TypeError, match="needs a module"):
        make_trainer(callbacks=setup).fit(object(), DATA)

    assert setup.calls == 0


def test_an_evaluation_of_a_trained_program_is_at_its_step() -> None:
    """So that what it logs is drawn where the training ended."""
    model, trainer = Line(), make_trainer(max_epochs=2)
    trainer.fit(model, DATA)
    fitted = trainer.progress

    trainer.test(model, DATA)
    assert trainer.progress == fitted == Progress(epoch=2, batch=0, batches=6, steps=6)
    assert trainer.progress is not fitted

    trainer.test(Line(), DATA)
    assert trainer.progress == Progress()


@pytest.mark.parametrize("name", ["best", Path("folder/best")])
def test_a_state_may_be_named_by_a_string_or_a_path(name: Any) -> None:
    first = make_trainer(max_epochs=1)
    first.fit(Line(), DATA)
    asked: list[Any] = []

    class Shelf(NoStore):
        def load(self, name: str, *, world: Any = None) -> Any:
            asked.append(name)
            return first.capture()

    make_trainer(max_epochs=2, store=Shelf()).fit(Line(), DATA, ckpt_path=name)

    assert asked == [str(name)]


class Placed(Line):
    """Has a place for its trainer; Line's class attribute is one."""


class Placeless:
    training_step, configure_optimizers = Line.training_step, Line.configure_optimizers
    loss = Line.loss

    def __init__(self) -> None:
        self.weight = Line().weight


def test_a_program_knows_its_trainer_where_it_has_a_place_for_it() -> None:
    placed, placeless, trainer = Placed(), Placeless(), make_trainer(max_epochs=1)

    trainer.fit(placed, DATA)
    trainer.fit(placeless, DATA)

    assert placed.trainer is trainer
    assert not hasattr(placeless, "trainer")


def test_a_plan_that_fails_leaves_the_program_as_it_was() -> None:
    first, program = make_trainer(), Line()
    program.trainer = first
    with pytest.raises(TypeError, match=r"configure_callbacks takes .*Received 3 of type int"):
        make_trainer().fit(calling_back(3), batches(1))

    program.configure_callbacks = lambda: 3
    with pytest.raises(TypeError, match=r"Received 3 of type int"):
        make_trainer().fit(program, batches(1))
    assert program.trainer is first


def calling_back(returned: Any) -> Any:
    return type("Program", (Line,), {"configure_callbacks": lambda self: returned})()
