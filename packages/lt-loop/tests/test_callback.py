"""The base class of callbacks: a documented place for each hook, and nothing that is called."""

import copy
import inspect
from typing import Any

import pytest
from toys import Line, batches, make_trainer

from lt_loop import Callback
from lt_loop.hooks import HOOKS, bind, check_spelling, overridden

CALLBACK_HOOKS = [hook.name for hook in HOOKS.values() if "callback" in hook.owners]


def test_it_has_each_hook_of_a_callback_its_state_and_log_and_no_more() -> None:
    methods = {name for name, _ in inspect.getmembers(Callback, inspect.isfunction)}

    beside = {"state_dict", "load_state_dict", "attach", "plan_limits", "resolve"}
    assert methods == {*CALLBACK_HOOKS, *beside, "log", "log_dict", "__getstate__"}


@pytest.mark.parametrize("name", CALLBACK_HOOKS)
def test_the_arguments_of_a_hook_are_named_as_in_the_table(name: str) -> None:
    before = ["self"] if name == "on_log" else ["self", "trainer", "pl_module"]

    parameters = inspect.signature(getattr(Callback, name)).parameters

    assert list(parameters) == [*before, *HOOKS[name].arguments]
    defaults = [p.default for p in parameters.values() if p.default is not p.empty]
    assert defaults == [0] * HOOKS[name].optional


@pytest.mark.parametrize("name", CALLBACK_HOOKS)
def test_a_hook_that_nobody_overrides_is_never_called(name: str) -> None:
    assert bind(name, trainer=None, program=None, callbacks=[Callback()]) == ()


@pytest.mark.parametrize("name", CALLBACK_HOOKS)
def test_an_override_may_call_what_it_overrides(name: str) -> None:
    def override(self: Callback, *arguments: Any) -> Any:
        return getattr(super(cls, self), name)(*arguments)

    cls = type("Careful", (Callback,), {name: override})
    (hook,) = bind(name, trainer=None, program=None, callbacks=[cls()])

    assert hook(*HOOKS[name].arguments) is None


def test_a_callback_without_a_state_has_none_to_save() -> None:
    callback = Callback()

    assert callback.state_dict() == {}
    callback.load_state_dict({"left by": "another version"})
    assert overridden(callback, "state_dict") is None


def test_a_state_stands_under_the_name_of_its_class() -> None:
    class Counter(Callback):
        pass

    class Special(Counter):
        pass

    here = "test_a_state_stands_under_the_name_of_its_class.<locals>"
    assert Callback().state_key == "Callback"
    assert (Counter().state_key, Special().state_key) == (f"{here}.Counter", f"{here}.Special")


def test_a_callback_plays_no_role_unless_it_says_so() -> None:
    assert Callback().role == ""


def test_the_base_class_passes_its_own_check() -> None:
    check_spelling(Callback(), "callback")


class Logging(Callback):
    """Logs under its own name."""

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.log("index", batch_idx, on_step=False, on_epoch=True, reduce_fx="max")
        self.log_dict({"a": 1.0, "b": batch_idx}, prog_bar=True)


def test_a_callback_logs_to_the_trainer_of_its_run() -> None:
    trainer = make_trainer(max_epochs=1, callbacks=Logging())
    trainer.fit(Line(), batches(3))

    assert trainer.callback_metrics == {"index": 2.0, "a": 1.0, "b": 2.0}
    assert trainer.progress_bar_metrics == {"a": 1.0, "b": 2.0}


def test_outside_of_a_run_a_callback_logs_nothing() -> None:
    logging = Logging()
    logging.log("early", 1.0)
    trainer = make_trainer(max_epochs=1, callbacks=logging)
    trainer.fit(Line(), batches(3))
    logging.log_dict({"late": 1.0})

    assert set(trainer.callback_metrics) == {"index", "a", "b"}


def test_a_callback_logs_where_it_was_attached_last_and_can_be_given_back() -> None:
    callback, outer, inner = Callback(), make_trainer(), make_trainer()

    assert callback.attach(outer) is None
    assert callback.attach(inner) is outer
    assert callback.attach(None) is inner


def test_a_copy_of_a_callback_has_all_but_its_trainer() -> None:
    callback, trainer = Logging(), make_trainer()
    callback.limit = 3  # type: ignore[attr-defined]
    callback.attach(trainer)

    twin = copy.deepcopy(callback)

    assert vars(twin) == {"limit": 3}
    assert twin.attach(None) is None
    assert callback.attach(None) is trainer
