"""Barebones: nothing beside the training, and no argument that asks for more."""

import warnings
from typing import Any

import pytest
from toys import Calling, Line, LogKeeper, batches, by_hand, make_trainer

from lt_loop import Callback, Trainer
from lt_loop.barebones import TURNED_OFF
from lt_loop.solo import DuckBackend

DATA = batches(3)


class Logging(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer.log("loss", self.loss(batch), on_epoch=True)
        return self.loss(batch)


def bare_trainer(**words: Any) -> Trainer:
    return Trainer(backend=DuckBackend(), barebones=True, **words)


def test_there_is_no_callback_and_no_sanity_check() -> None:
    checks = Calling("on_sanity_check_start", lambda trainer: pytest.fail("a sanity check"))
    trainer, model = bare_trainer(max_epochs=2, callbacks=checks), Line()
    trainer.fit(model, DATA, DATA)

    assert trainer.barebones
    assert trainer.callbacks == (checks,)
    assert model.weight.value == by_hand(DATA, epochs=2)


def test_a_trainer_is_not_bare_unless_it_is_asked_to_be() -> None:
    assert not make_trainer().barebones


def test_log_does_nothing_and_says_so_once() -> None:
    trainer = bare_trainer(max_epochs=2)
    message = (
        r"^With barebones=True nothing is logged\. Received log\('loss', \.\.\.\), which does "
        r"nothing, like the calls after it\. Drop barebones=True to log\.$"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        trainer.fit(Logging(), DATA)
    assert len(caught) == 1
    assert trainer.callback_metrics == {}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.fit(Logging(), DATA)


ASKED_FOR: dict[str, Any] = {
    "logger": True,
    "enable_checkpointing": True,
    "enable_progress_bar": True,
    "enable_model_summary": True,
    "num_sanity_val_steps": 2,
    "log_every_n_steps": 50,
    "fast_dev_run": 1,
    "detect_anomaly": True,
    "profiler": "simple",
}


def test_every_argument_that_is_turned_off_is_tried() -> None:
    assert ASKED_FOR.keys() == TURNED_OFF.keys()


@pytest.mark.parametrize(("name", "value"), ASKED_FOR.items())
def test_an_argument_that_asks_for_what_is_turned_off_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^barebones=True turns off logger, .*profiler\. ") as e:
        bare_trainer(**{name: value})

    assert f"Received {name}={value!r} beside it. Drop one of them." in str(e.value)


@pytest.mark.parametrize(("name", "value"), [*TURNED_OFF.items(), ("log_every_n_steps", 0)])
def test_an_argument_that_says_the_same_is_taken(name: str, value: Any) -> None:
    assert bare_trainer(**{name: value}).callbacks == ()


class Bar(Callback):
    role = "progress_bar"


@pytest.mark.parametrize(
    ("callbacks", "what"),
    [
        (Bar(), r"Bar \(the role 'progress_bar'\) in callbacks"),
        ([Callback(), LogKeeper()], r"LogKeeper \(a logger\) in callbacks"),
    ],
)
def test_a_callback_that_does_what_is_turned_off_is_named(callbacks: Any, what: str) -> None:
    with pytest.raises(ValueError, match=rf"Received {what} beside it\."):
        bare_trainer(callbacks=callbacks)


def test_what_is_no_callback_is_refused_as_ever() -> None:
    with pytest.raises(TypeError, match="Received the class Bar"):
        bare_trainer(callbacks=[Bar])
    with pytest.raises(TypeError, match="takes instances of Callback"):
        bare_trainer(callbacks="none")
