"""A state captured at a safe point is whole: going on from it is never having stopped."""

import json
from typing import Any

import pytest
from toys import Calling, Halving, Line, LogKeeper, Stream, batches, make_trainer

from lt_loop import Callback, Progress, Trainer
from lt_loop.solo import NoStore

DATA = batches(5)
STEPS = {1: 15, 2: 9}
"""Optimizer steps of three epochs, by the size of the accumulation window."""


class Counter(Callback):
    """A callback with a state."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.batches = state["batches"]


class Scheduled(Line):
    """Has everything that must survive: momentum, a schedule, sums of what was logged."""

    def configure_optimizers(self) -> Any:
        self.optimizer = super().configure_optimizers()
        self.schedule = Halving(self.optimizer)
        config = {"scheduler": self.schedule, "interval": "step", "frequency": 2}
        return {"optimizer": self.optimizer, "lr_scheduler": config}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.trainer.log("loss", loss, on_step=True, on_epoch=True)
        self.trainer.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.log("val_loss", self.loss(batch))


class Stage:
    """One run, or the rest of one, with all that can be seen of it."""

    def __init__(self, **words: Any) -> None:
        self.model, self.keeper, self.counter = Scheduled(), LogKeeper(), Counter()
        defaults = {
            "max_epochs": 3,
            "log_every_n_steps": 1,
            "val_check_interval": 2,
            "num_sanity_val_steps": 0,
            "callbacks": [self.keeper, self.counter],
        }
        self.trainer = make_trainer(**(defaults | words))

    def steps(self, loader: Any, state: Any = None) -> Any:
        return self.trainer.steps(self.model, loader, DATA[:2], ckpt_path=state)

    def seen(self) -> Any:
        model = self.model
        return (
            model.weight.value,
            model.optimizer.state_dict(),
            model.schedule.steps,
            self.counter.batches,
            self.trainer.progress,
            self.trainer.callback_metrics,
        )


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
@pytest.mark.parametrize(
    ("accumulate", "at"), [(size, at) for size, steps in STEPS.items() for at in range(1, steps)]
)
def test_going_on_from_any_safe_point_is_never_having_stopped(
    loader: Any, accumulate: int, at: int
) -> None:
    words = {"accumulate_grad_batches": accumulate}
    whole = Stage(**words)
    for _ in whole.steps(loader):
        pass

    first = Stage(**words)
    for progress in first.steps(loader):
        if progress.steps == at:
            break
    state = json.loads(json.dumps(first.trainer.capture()))
    rest = Stage(**words)
    for _ in rest.steps(loader, state):
        pass

    assert rest.seen() == whole.seen()
    assert first.keeper.lines + rest.keeper.lines == whole.keeper.lines


def test_a_fit_that_reached_its_limit_can_be_continued_under_a_higher_one() -> None:
    whole = Stage(max_epochs=4)
    whole.trainer.fit(whole.model, DATA, DATA[:2])

    for words in ({"max_epochs": 2}, {"max_steps": 8, "max_epochs": -1}):
        first, rest = Stage(**words), Stage(max_epochs=4)
        first.trainer.fit(first.model, DATA, DATA[:2])
        rest.trainer.fit(rest.model, DATA, DATA[:2], ckpt_path=first.trainer.capture())

        assert rest.seen() == whole.seen()


def test_a_state_is_a_snapshot() -> None:
    stage = Stage()
    run = stage.steps(DATA)
    next(run)
    state = stage.trainer.capture()
    before = json.dumps(state)
    for _ in run:
        pass

    assert json.dumps(state) == before


def test_a_resumed_fit_tries_out_no_validation() -> None:
    first, tried = Stage(), Calling("on_sanity_check_start", lambda trainer: None)
    next(first.steps(DATA))
    rest = Stage(num_sanity_val_steps=2, callbacks=[tried])
    rest.trainer.fit(rest.model, DATA, DATA, ckpt_path=first.trainer.capture())

    assert tried.calls == 0


def test_hooks_may_add_to_a_state_and_read_it_back() -> None:
    class Noting(Line):
        note = ""

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["note"] = "saved by the program"

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.note = checkpoint["note"]

    trainer = make_trainer(max_epochs=1)
    trainer.fit(Noting(), DATA)
    model = Noting()
    make_trainer(max_epochs=2).fit(model, DATA, ckpt_path=trainer.capture())

    assert model.note == "saved by the program"


def test_the_state_of_a_datamodule_survives() -> None:
    class Data:
        def __init__(self) -> None:
            self.seen = 0

        def train_dataloader(self) -> Any:
            self.seen += 1
            return DATA

        def state_dict(self) -> dict[str, Any]:
            return {"seen": self.seen}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.seen = state["seen"] + 10

    trainer = make_trainer(max_epochs=1)
    trainer.fit(Line(), datamodule=Data())
    data = Data()
    make_trainer(max_epochs=2).fit(Line(), datamodule=data, ckpt_path=trainer.capture())

    assert data.seen == 12  # loaded first, then asked for the loader


def test_a_state_within_an_epoch_keeps_its_accumulation() -> None:
    stage = Stage(accumulate_grad_batches=2)
    for progress in stage.steps(DATA):
        if progress.batch == 2:
            break
    state = stage.trainer.capture()

    message = "keeps what shapes its steps.*accumulate_grad_batches=3 .*accumulate_grad_batches=2"
    with pytest.raises(ValueError, match=message):
        list(Stage(accumulate_grad_batches=3).steps(DATA, state))


def test_what_differs_may_be_accepted() -> None:
    trainer = make_trainer(max_epochs=1, accumulate_grad_batches=2)
    trainer.fit(Line(), DATA)

    again = make_trainer(max_epochs=2, on_mismatch="accept")
    assert again.fit(Line(), DATA, ckpt_path=trainer.capture()).progress.steps == 3 + 5


def test_callbacks_are_told_apart_by_their_keys() -> None:
    class Keyed(Counter):
        def __init__(self, key: str, batches: int = 0) -> None:
            self.key, self.batches = key, batches

        @property
        def state_key(self) -> str:
            return self.key

    first = make_trainer(max_epochs=1, callbacks=[Keyed("a", 100), Keyed("b", 200)])
    first.fit(Line(), DATA)
    b, c = Keyed("b"), Keyed("c")
    make_trainer(max_epochs=2, callbacks=[b, c]).fit(Line(), DATA, ckpt_path=first.capture())

    assert (b.batches, c.batches) == (210, 5)


def test_two_callbacks_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match=r"state_key='Counter' twice\. Override state_key"):
        make_trainer(max_epochs=1, callbacks=[Counter(), Counter()]).fit(Line(), DATA)


# --- where a state can be captured


@pytest.mark.parametrize("hook", ["on_train_start", "on_train_end", "on_fit_end", "teardown"])
def test_hooks_outside_of_the_epochs_are_safe(hook: str) -> None:
    states: list[Any] = []
    capture = Calling(hook, lambda trainer: states.append(trainer.capture()))
    make_trainer(max_steps=7, callbacks=capture).fit(Line(), DATA)

    assert states[0]["loops"]["progress"]["steps"] == (0 if hook == "on_train_start" else 7)


@pytest.mark.parametrize("hook", ["on_before_backward", "on_train_batch_end", "on_validation_end"])
def test_a_state_is_refused_where_it_would_not_be_whole(hook: str) -> None:
    capture = Calling(hook, lambda trainer: trainer.capture())

    with pytest.raises(RuntimeError, match=r"whole at its safe points only.*trainer\.steps"):
        make_trainer(callbacks=capture, num_sanity_val_steps=0).fit(Line(), DATA, DATA)


def test_after_an_exception_in_a_step_there_is_no_state() -> None:
    class Failing(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ArithmeticError

    trainer = make_trainer()
    with pytest.raises(ArithmeticError):
        trainer.fit(Failing(), DATA)

    with pytest.raises(RuntimeError, match="safe points"):
        trainer.capture()


def test_without_a_run_there_is_no_state() -> None:
    with pytest.raises(
        RuntimeError, match=r"A state belongs to a fit\. Received the last run: none\."
    ):
        make_trainer().capture()


# --- what can't be resumed


@pytest.fixture(scope="module")
def state() -> Any:
    """The state after two epochs."""
    trainer = make_trainer(max_epochs=2)
    trainer.fit(Line(), DATA)
    return trainer.capture()


@pytest.mark.parametrize(
    ("words", "limit"),
    [({"max_epochs": 2}, "max_epochs=2"), ({"max_steps": 9}, "max_steps=9")],
    ids=str,
)
def test_a_limit_that_is_reached_already_is_refused(
    state: Any, words: dict[str, int], limit: str
) -> None:
    message = rf"something left to do\. Received {limit} and a state of epoch 2, step 10\. Raise"

    with pytest.raises(ValueError, match=message):
        make_trainer(**words).fit(Line(), DATA, ckpt_path=state)


def test_a_state_of_another_format_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match=r"has format 1\. Received format 99"):
        make_trainer().fit(Line(), DATA, ckpt_path={**state, "format": 99})


@pytest.mark.parametrize("call", ["validate", "test", "predict"])
def test_a_program_can_be_evaluated_as_it_was_in_a_state(state: Any, call: str) -> None:
    trained, fresh, trainer = Line(), Line(), make_trainer()
    trained.load_state_dict(state["state_dict"])
    expected = getattr(make_trainer(), call)(trained, DATA)

    assert getattr(trainer, call)(fresh, DATA, ckpt_path=state) == expected
    assert fresh.weight.value == trained.weight.value
    assert trainer.progress == Progress(**state["loops"]["progress"])


def test_a_name_is_looked_up_in_the_store(state: Any) -> None:
    class Shelf(NoStore):
        def load(self, name: str, *, world: Any = None) -> Any:
            return {"best": state}[name]

    trainer = make_trainer(max_epochs=3, store=Shelf())

    assert trainer.fit(Line(), DATA, ckpt_path="best").progress.batches == 15


def test_a_name_without_a_store_is_refused() -> None:
    trainer = make_trainer(store=NoStore())
    with pytest.raises(LookupError, match=r"need a store.*loading 'best'.*Install lt-checkpoint"):
        trainer.fit(Line(), DATA, ckpt_path="best")


# --- the outcome


def test_a_result_belongs_to_its_run() -> None:
    trainer = make_trainer(max_epochs=1)
    assert trainer.result is None

    results = [trainer.fit(Line(), DATA) for _ in range(2)]

    assert [result.progress for result in results] == [Progress(1, 0, 5, 5, 0)] * 2
    assert results[0].progress is not results[1].progress
    assert trainer.result is results[1]


def test_there_is_no_result_while_a_run_is_under_way() -> None:
    seen: list[Any] = []
    look = Calling("on_train_batch_end", lambda trainer: seen.append(trainer.result))
    trainer: Trainer = make_trainer(max_epochs=1, callbacks=look)
    trainer.fit(Line(), DATA)
    trainer.fit(Line(), DATA)

    assert seen == [None] * 10


@pytest.mark.parametrize("call", ["validate", "test", "predict"])
def test_what_is_evaluated_after_a_fit_has_its_progress(call: str) -> None:
    trainer, model = make_trainer(max_epochs=2), Line()
    trainer.fit(model, DATA)
    getattr(trainer, call)(model, DATA)

    assert (trainer.current_epoch, trainer.global_step) == (2, 10)
    getattr(trainer, call)(Line(), DATA)
    assert (trainer.current_epoch, trainer.global_step) == (0, 0)


def test_a_state_with_other_schedules_is_refused() -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Scheduled(), DATA)

    with pytest.raises(ValueError, match=r"schedules it had\. Received 0 and a state of 1\."):
        make_trainer(max_epochs=2).fit(Line(), DATA, ckpt_path=trainer.capture())
