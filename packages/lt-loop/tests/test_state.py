"""What survives is what was at the safe point, and nothing that came after it."""

import copy
import pickle
from typing import Any

import pytest
from toys import Calling, Halving, Line, Stream, batches, by_hand, make_trainer

from lt_loop import Callback
from lt_loop.solo import DuckBackend

DATA = batches(6)


class History(Callback):
    """Has a state that it changes in place."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append(batch_idx)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


def left_at(step: int, program: Any, **words: Any) -> Any:
    """The state after a step of a run that is left there."""
    trainer = make_trainer(**words)
    for progress in trainer.steps(program, DATA):
        if progress.steps == step:
            break
    return trainer.capture()


def test_a_state_shares_nothing_with_the_run_it_was_taken_from_or_given_to() -> None:
    first = History()
    trainer, state = make_trainer(max_epochs=1, callbacks=first), None
    for progress in trainer.steps(Line(), DATA):
        if progress.steps == 2:
            state = trainer.capture()
    assert state is not None
    assert state["callbacks"]["History"] == {"seen": [0, 1]}

    for _ in range(2):
        again = History()
        make_trainer(max_epochs=1, callbacks=again).fit(Line(), DATA, ckpt_path=state)
        assert again.seen == first.seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("lower", [2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_epoch_is_over_where_a_lower_limit_leaves_nothing_of_it(
    lower: int, accumulate: int
) -> None:
    """It ends as any does: the schedules of epochs are stepped, validation runs once."""

    class Watching(Line):
        def __init__(self) -> None:
            super().__init__()
            self.happened: list[tuple[str, int, float]] = []

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self._note("train")
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self._note("validate")

        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            return [optimizer], [Halving(optimizer)]

        def _note(self, what: str) -> None:
            trainer = self.trainer
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.happened.append((what, trainer.current_epoch, rate))

    state = left_at(3, Watching(), max_epochs=2)
    program = Watching()
    trainer = make_trainer(
        max_epochs=2,
        limit_train_batches=lower,
        accumulate_grad_batches=accumulate,
        on_mismatch="accept",
        num_sanity_val_steps=0,
    )
    trainer.fit(program, DATA, DATA[:1], ckpt_path=state)
    assert program.happened == [
        ("validate", 0, 0.01),  # once halved
        *[("train", 1, 0.01)] * lower,
        ("validate", 1, 0.005),
    ]


class Ending(Line):
    """Logs at the end of the epoch, and validates."""

    def on_train_epoch_start(self) -> None:
        self.trainer.log("start", 1.0, reduce_fx="sum")

    def on_train_epoch_end(self) -> None:
        self.trainer.log("end", self.trainer.progress.batches)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.log("val", self.loss(batch))


class Monitor(Callback):
    """Counts what it looked at."""

    monitors = True
    count = 0

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


STOPS: dict[str, Any] = {
    "max_steps": {"max_steps": 4},
    "a request": {"callbacks": [Calling("on_train_batch_end", lambda t: t.stop("seen"), at=4)]},
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_what_follows_an_early_stop_is_not_in_the_state(stop: dict[str, Any]) -> None:
    def seen(trainer: Any, program: Line, monitor: Monitor) -> Any:
        return program.weight.value, monitor.count, trainer.callback_metrics

    monitor, program = Monitor(), Ending()
    whole = make_trainer(max_epochs=2, callbacks=monitor)
    whole.fit(program, DATA, DATA[:1])
    expected = seen(whole, program, monitor)

    first = make_trainer(**{**stop, "callbacks": [Monitor(), *stop.get("callbacks", [])]})
    first.fit(Ending(), DATA, DATA[:1])
    monitor, program = Monitor(), Ending()
    rest = make_trainer(max_epochs=2, callbacks=monitor)
    rest.fit(program, DATA, DATA[:1], ckpt_path=first.capture())

    assert seen(rest, program, monitor) == expected


def test_a_request_that_must_wait_waits_in_the_state_too() -> None:
    ask = Calling("on_train_batch_end", lambda trainer: trainer.stop("seen enough"), at=1)
    state = left_at(3, Line(), min_steps=5, callbacks=ask)
    result = make_trainer(min_steps=5).fit(Line(), DATA, ckpt_path=state)

    assert (result.reason, result.progress.steps) == ("seen enough", 5)


def test_a_request_that_was_heard_is_not_heard_again() -> None:
    ask = Calling("on_train_batch_end", lambda trainer: trainer.stop("seen enough"), at=3)
    trainer = make_trainer(callbacks=ask)
    trainer.fit(Line(), DATA)
    result = make_trainer(max_epochs=1).fit(Line(), DATA, ckpt_path=trainer.capture())

    assert result.reason == "max_epochs=1 reached"


def test_time_that_is_used_up_is_refused_like_any_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Line(), DATA)
    state = trainer.capture()
    state["loops"]["seconds"] = 61.0

    with pytest.raises(ValueError, match=r"something left to do\. Received max_time='00:00:01:00'"):
        make_trainer(max_time="00:00:01:00").fit(Line(), DATA, ckpt_path=state)


class EverySecond(Line):
    """Accumulates by hand over two batches."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        (optimizer,) = self.trainer.stepped_optimizers
        self.trainer.manual_backward(self.loss(batch) / 2)
        if batch_idx % 2:
            optimizer.step()
            optimizer.zero_grad()


def test_gradients_that_are_accumulated_by_hand_are_pending() -> None:
    program, trainer = EverySecond(), make_trainer(max_epochs=1)
    yielded = [progress.batch for progress in trainer.steps(program, DATA)]

    assert yielded == [2, 4, 0]
    assert program.weight.value == by_hand(DATA, accumulate=2)


def test_steps_of_validation_are_counted_on() -> None:
    class Logging(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("v", 1.0, on_step=True)

    trainer = make_trainer(max_epochs=1)
    trainer.fit(Logging(), DATA, Stream(DATA[:2]))

    assert trainer.capture()["loops"]["evaluated"] == [(0, 2)]


def test_what_a_program_steps_by_hand_can_be_copied_and_pickled() -> None:
    trainer, program = make_trainer(max_epochs=1), Line()
    trainer.fit(program, DATA)
    (optimizer,) = trainer.stepped_optimizers
    optimizer = type(optimizer)(optimizer.optimizer, DuckBackend(), (), None)

    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        twin.step()
        assert (twin.taken(), twin.param_groups) == (True, optimizer.param_groups)
