"""LambdaCallback is called wherever a callback with methods is."""

import inspect
from typing import Any

import pytest

from lt_callbacks import LambdaCallback
from lt_loop import Callback

HOOKS = [name for name in vars(Callback) if name.startswith("on_") or name in ("setup", "teardown")]


def test_every_hook_of_callbacks_is_an_argument() -> None:
    assert set(inspect.signature(LambdaCallback).parameters) == set(HOOKS)


def test_functions_are_called_like_methods(scripted: Any, make_trainer: Any) -> None:
    def spy(calls: list[Any], name: str) -> Any:
        return lambda *arguments: calls.append((name, len(arguments)))

    by_lambda: list[Any] = []
    by_method: list[Any] = []
    methods = {name: (lambda n: lambda _, *a: spy(by_method, n)(*a))(name) for name in HOOKS}
    callbacks = [
        LambdaCallback(**{name: spy(by_lambda, name) for name in HOOKS}),
        type("Methods", (Callback,), methods)(),
    ]
    trainer = make_trainer(*callbacks, max_epochs=1, num_sanity_val_steps=1)
    program = scripted(train_x=[1], val_x=[1], test_x=[1])

    trainer.fit(program, [0, 1], [0])
    trainer.test(program, [0], verbose=False)
    trainer.predict(program, [0])

    unlike = {"on_exception", "on_save_checkpoint", "on_load_checkpoint"}
    assert {name for name, _ in by_lambda} == set(HOOKS) - unlike
    assert sorted(by_lambda) == sorted(by_method)


def test_a_function_with_other_arguments_is_refused(scripted: Any, make_trainer: Any) -> None:
    trainer = make_trainer(LambdaCallback(on_train_start=lambda trainer: None))

    with pytest.raises(TypeError, match=r"on_train_start is called with \(trainer, module\)"):
        trainer.fit(scripted(train_x=[1]), [0])


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"takes a function for setup\. Received 3"):
        LambdaCallback(setup=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_train_begin"):
        LambdaCallback(on_train_begin=print)  # type: ignore[call-arg]
