import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lt_callbacks import Preemption
from lt_loop import Callback, Preempted, Trainer
from lt_loop.solo import DuckBackend, NoStore

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="there is no SIGUSR1 on this system"
)


class Loss(float):
    def backward(self) -> None: ...


class Optimizer:
    def zero_grad(self) -> None: ...

    def step(self) -> None: ...


class Signalled:
    """Receives a signal in its third step."""

    trainer: Any = None

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, 0

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        self.seen += 1
        if self.seen == 3:
            signal.raise_signal(self.number)
        return Loss(1.0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        signal.raise_signal(self.number)

    def configure_optimizers(self) -> Optimizer:
        return Optimizer()


class Shelf(NoStore):
    def __init__(self) -> None:
        self.states: dict[str, Any] = {}

    def save(self, state: Mapping[str, Any], name: str, **_: Any) -> None:
        self.states[name] = state


def trainer(*callbacks: Callback, **words: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "backend": DuckBackend()}
    return Trainer(callbacks=list(callbacks), max_epochs=2, **(quiet | words))


class Keeper(Callback):
    role = "checkpoint"
    dirpath = "kept"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_leaves_a_checkpoint_of_the_step_under_way(name: str) -> None:
    shelf, told = Shelf(), []
    preemption = Preemption(on_preempted=lambda trainer, path: told.append(path))
    number = getattr(signal, name)
    kind = KeyboardInterrupt if name == "SIGINT" else Preempted

    with pytest.raises(kind):
        trainer(preemption, Keeper(), store=shelf).fit(Signalled(number), [1.0] * 8)

    path = str(Path("kept") / "preempted-step=3.ckpt")
    assert told == list(shelf.states) == [path]
    assert shelf.states[path]["global_step"] == 3


def test_it_goes_into_the_root_folder_or_where_it_is_told(tmp_path: Path) -> None:
    for words, folder in (({}, tmp_path / "checkpoints"), ({"dirpath": "there"}, Path("there"))):
        shelf = Shelf()
        run = trainer(Preemption(**words), store=shelf, default_root_dir=tmp_path)
        with pytest.raises(Preempted):
            run.fit(Signalled(signal.SIGTERM), [1.0] * 8)
        assert list(shelf.states) == [str(folder / "preempted-step=3.ckpt")]


def test_any_other_end_is_none_of_its_business() -> None:
    class Failing(Signalled):
        def training_step(self, batch: Any, batch_idx: int) -> Loss:
            raise ArithmeticError

    shelf = Shelf()
    with pytest.raises(ArithmeticError):
        trainer(Preemption(), store=shelf).fit(Failing(0), [1.0])
    assert shelf.states == {}


def test_without_a_fit_there_is_nothing_to_save(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf()
    with caplog.at_level(logging.WARNING, "lt_callbacks"), pytest.raises(Preempted):
        trainer(Preemption(), store=shelf).validate(Signalled(signal.SIGTERM), [1.0, 2.0])
    assert shelf.states == {}
    assert "nothing is saved" in caplog.text


def test_what_it_can_not_do_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Received 'SIGTREM'\. Did you mean 'SIGTERM'"):
        Preemption(signals=["SIGTREM"])
    with pytest.raises(ValueError, match="grace_seconds is a time above 0"):
        Preemption(0)


def test_the_engine_is_told_of_signals_and_time() -> None:
    preemption = Preemption(30, signals=["SIGUSR2"])
    assert (preemption.signals, preemption.grace_seconds) == (("SIGUSR2",), 30)
