"""Validation, test and prediction: their order is in test_lifecycle.py, what they log here."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from toys import Calling, Line, LogKeeper, Stream, batches, by_hand, make_trainer

from lt_loop import Callback, Trainer

DATA = batches(4)


class Logging(Line):
    """Logs the loss of each evaluation batch under the name of the step."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer.log("test_loss", self.loss(batch))


def weighted_loss(slope: float, data: list[Any]) -> float:
    """The mean over samples of the loss, by hand."""
    total = 0.0
    for batch in data:  # one after the other, as the loop does; sum() rounds once, at the end
        total += float(Line(slope).loss(batch)) * len(batch[0])
    return total / sum(len(batch[0]) for batch in data)


# Which model, which loaders


def test_test_without_arguments_tests_the_last_model_as_it_was_left() -> None:
    class WithLoaders(Logging):
        def train_dataloader(self) -> Any:
            return DATA

        def test_dataloader(self) -> Any:
            return DATA[:2]

    trainer = make_trainer(max_epochs=2)
    trainer.fit(WithLoaders())

    tables = trainer.test()

    assert tables == [{"test_loss": weighted_loss(by_hand(DATA, epochs=2), DATA[:2])}]


@pytest.mark.parametrize("call", ["validate", "test", "predict"])
def test_a_call_without_a_model_and_without_a_last_run_says_so(call: str) -> None:
    with pytest.raises(TypeError, match=rf"{call} takes a module.*trainer\.{call}\(model\)"):
        getattr(make_trainer(), call)(dataloaders=DATA)


@pytest.mark.parametrize("call", ["validate", "test"])
def test_the_last_model_may_be_evaluated_on_other_data(call: str) -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Logging(), DATA)

    (table,) = getattr(trainer, call)(dataloaders=DATA[2:])

    assert list(table.values()) == [weighted_loss(by_hand(DATA), DATA[2:])]


class Digits:
    """A datamodule."""

    def train_dataloader(self) -> Any:
        return DATA

    def val_dataloader(self) -> Any:
        return DATA[:1]

    def test_dataloader(self) -> Any:
        return DATA[:2]

    def predict_dataloader(self) -> Any:
        return DATA[:3]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_datamodule_serves_every_call_that_follows(by_name: bool) -> None:
    seen: list[str] = []
    trainer = make_trainer(
        max_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[
            Calling("on_validation_batch_end", lambda trainer: seen.append("val")),
            Calling("on_test_batch_end", lambda trainer: seen.append("test")),
            Calling("on_predict_batch_end", lambda trainer: seen.append("predict")),
        ],
    )
    model, data = Line(), Digits()
    if by_name:
        trainer.fit(model, datamodule=data)
    else:
        trainer.fit(model, data)
    trainer.test()
    trainer.predict()

    assert seen == ["val", "test", "test", "predict", "predict", "predict"]
    assert model.weight.value == by_hand(DATA)


def test_loaders_of_the_call_go_before_those_of_the_module() -> None:
    class WithLoader(Logging):
        def test_dataloader(self) -> Any:
            raise AssertionError("asked for a loader that the call brought")

    assert make_trainer().test(WithLoader(), DATA) == [{"test_loss": weighted_loss(0.0, DATA)}]


# What comes back and what is logged


def test_a_mean_is_weighted_by_the_size_of_the_batches() -> None:
    trainer = make_trainer()

    tables = trainer.validate(Logging(slope=0.5), DATA)

    assert tables == [{"val_loss": weighted_loss(0.5, DATA)}]
    assert trainer.callback_metrics == tables[0]
    assert trainer.result is not None
    assert trainer.result.metrics == tables[0]


def test_several_loaders_have_a_table_each() -> None:
    class Two(Line):
        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.trainer.log("loss", float(dataloader_idx))

        def on_test_epoch_end(self) -> None:
            self.trainer.log("whole", 7.0)

    loaders = [Stream(DATA[:2]), Stream(DATA[:1])]

    assert make_trainer().test(Two(), loaders) == [
        {"loss/dataloader_idx_0": 0.0, "whole": 7.0},
        {"loss/dataloader_idx_1": 1.0, "whole": 7.0},
    ]


def test_several_loaders_need_a_step_that_tells_them_apart() -> None:
    loaders = [Stream(DATA), Stream(DATA)]

    with pytest.raises(TypeError, match=r"With several loaders test_step takes .*dataloader_idx"):
        make_trainer().test(Line(), loaders)


def test_an_evaluation_hands_its_numbers_to_the_loggers_once() -> None:
    keeper = LogKeeper()
    trainer = make_trainer(max_epochs=2, callbacks=keeper)

    trainer.fit(Logging(), DATA, DATA)

    first, second = by_hand(DATA), by_hand(DATA, epochs=2)
    assert keeper.lines == [
        (3, {"val_loss": weighted_loss(first, DATA), "epoch": 0}),
        (7, {"val_loss": weighted_loss(second, DATA), "epoch": 1}),
    ]


def test_metrics_can_be_read_when_an_evaluation_ends() -> None:
    """EarlyStopping and ModelCheckpoint read them there."""
    read: list[float] = []

    class OnEpochEnd(Line):
        def on_validation_epoch_end(self) -> None:
            self.trainer.log("late", 5.0)

    at_end = Calling("on_validation_end", lambda trainer: read.append(trainer.callback_metrics))
    make_trainer(callbacks=at_end).validate(OnEpochEnd(), DATA)

    assert read == [{"late": 5.0}]


@pytest.mark.parametrize("loggers", [[], [LogKeeper()]], ids=["no logger", "a logger"])
def test_values_of_evaluation_steps_are_in_the_tables(loggers: list[Callback]) -> None:
    class PerStep(Line):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("size", len(batch[0]), on_step=True, on_epoch=False)

    trainer = make_trainer(callbacks=loggers)
    trainer.test(PerStep(), DATA)

    assert trainer.callback_metrics == {"size": len(DATA[-1][0])}


def test_steps_of_several_validations_are_told_apart_by_the_loggers() -> None:
    """As in Lightning, a point of a validation step is never drawn over one of an earlier run."""

    class PerStep(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("size", len(batch[0]), on_step=True, on_epoch=False)

    keeper = LogKeeper()
    trainer = make_trainer(max_epochs=2, callbacks=keeper)
    trainer.fit(PerStep(), DATA, DATA[:3])

    assert [step for step, _ in keeper.points("size")] == [0, 1, 2, 3, 4, 5]


# The sanity check


def test_the_sanity_check_leaves_no_trace() -> None:
    keeper, epochs, lengths = LogKeeper(), [], []

    class Trying(Logging):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            super().validation_step(batch, batch_idx)
            self.trainer.log("now", 1.0, on_step=True, prog_bar=True)

        def validation_epoch_end(self, outputs: list[Any]) -> None:
            lengths.append(len(outputs))
            epochs.append(self.trainer.current_epoch)
            self.trainer.log("late", 1.0)

    tables: list[dict[str, float]] = []

    def look(trainer: Trainer) -> None:
        tables.extend((trainer.callback_metrics, trainer.logged_metrics))
        tables.append(trainer.progress_bar_metrics)
        assert keeper.lines == []
        assert trainer.global_step == 0

    callbacks = [keeper, Calling("on_train_start", look)]
    make_trainer(max_epochs=1, callbacks=callbacks).fit(Trying(), DATA, DATA[:3])

    assert lengths == [2, 3]
    assert tables == [{}, {}, {}]
    assert keeper.lines != []


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        ({}, 2),
        ({"num_sanity_val_steps": 0}, 0),
        ({"num_sanity_val_steps": 1}, 1),
        ({"num_sanity_val_steps": -1}, 4),
        ({"num_sanity_val_steps": 9}, 4),
        ({"num_sanity_val_steps": 3, "limit_val_batches": 2}, 2),
        ({"limit_val_batches": 0}, 0),
        ({"fast_dev_run": True}, 0),
    ],
    ids=str,
)
def test_the_sanity_check_tries_so_many_batches(words: dict[str, Any], tried: int) -> None:
    seen: list[int] = []

    class Trying(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if self.trainer.sanity_checking:
                seen.append(batch_idx)

    make_trainer(**({"max_epochs": 1} | words)).fit(Trying(), DATA, DATA)

    assert seen == list(range(tried))


# Prediction


def predicted(batch: Any) -> list[float]:
    return [2.0 * x for x in batch[0]]


def test_predict_returns_what_the_step_returned_for_each_batch() -> None:
    assert make_trainer().predict(Line(2.0), DATA) == [predicted(batch) for batch in DATA]


def test_predict_returns_a_list_for_each_of_several_loaders() -> None:
    loaders = [Stream(DATA[:2]), Stream(DATA[2:3])]

    assert make_trainer().predict(Line(2.0), loaders) == [
        [predicted(DATA[0]), predicted(DATA[1])],
        [predicted(DATA[2])],
    ]


def test_predict_can_leave_the_outputs_to_the_hooks() -> None:
    class Writer(Callback):
        def __init__(self) -> None:
            self.written: list[Any] = []

        def on_predict_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            self.written.append(outputs)

    writer = Writer()
    trainer = make_trainer(callbacks=writer)

    assert trainer.predict(Line(2.0), DATA, return_predictions=False) is None
    assert writer.written == [predicted(batch) for batch in DATA]


@pytest.mark.parametrize("call", ["validate", "test", "predict"])
def test_a_limit_of_no_batches_evaluates_nothing(call: str) -> None:
    words = {f"limit_{word}_batches": 0 for word in ("val", "test", "predict")}

    assert not getattr(make_trainer(**words), call)(Line(), DATA)


@pytest.mark.parametrize("call", ["validate", "test", "predict"])
def test_limits_hold_for_each_call(call: str) -> None:
    words = {"limit_val_batches": 3, "limit_test_batches": 0.75, "limit_predict_batches": 3}
    ends = Calling(f"on_{'validation' if call == 'validate' else call}_batch_end", lambda _: None)

    getattr(make_trainer(callbacks=ends, **words), call)(Line(), DATA)

    assert ends.calls == 3


# Modes


class Part:
    """A submodule with a mode."""

    def __init__(self, training: bool) -> None:
        self.training = training


class Moded(Line):
    """Has modes as an ``nn.Module`` has; one of its parts is frozen in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.training, self.parts = True, [Part(True), Part(False)]
        self.seen: set[tuple[bool, ...]] = set()

    def modules(self) -> list[Any]:
        return [self, *self.parts]

    def eval(self) -> None:
        for module in self.modules():
            module.training = False

    def modes(self) -> tuple[bool, ...]:
        return tuple(module.training for module in self.modules())

    def look(self, batch: Any, batch_idx: int) -> None:
        self.seen.add(self.modes())

    validation_step = test_step = predict_step = look

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        assert self.modes() == (True, True, False)


def test_validation_in_a_fit_gives_each_submodule_its_mode_back() -> None:
    model = Moded()

    make_trainer(max_epochs=2, val_check_interval=2).fit(model, DATA, DATA)

    assert model.seen == {(False, False, False)}
    assert model.modes() == (True, True, False)


@pytest.mark.parametrize("call", ["validate", "test", "predict"])
def test_each_evaluation_gives_each_submodule_its_mode_back(call: str) -> None:
    model = Moded()

    getattr(make_trainer(), call)(model, DATA)

    assert model.seen == {(False, False, False)}
    assert model.modes() == (True, True, False)


@pytest.mark.parametrize("call", ["validate", "test", "predict"])
def test_modes_are_given_back_after_an_exception(call: str) -> None:
    class Failing(Moded):
        def look(self, batch: Any, batch_idx: int) -> None:
            raise ArithmeticError("in the step")

        validation_step = test_step = predict_step = look

    model = Failing()
    with pytest.raises(ArithmeticError):
        getattr(make_trainer(), call)(model, DATA)

    assert model.modes() == (True, True, False)


def test_a_program_may_change_its_modes_itself() -> None:
    class Own(Moded):
        def on_validation_model_eval(self) -> None:
            self.parts[0].training = False

        def on_validation_model_train(self) -> None:
            self.parts[0].training = True

    model = Own()
    make_trainer().validate(model, DATA)

    assert model.seen == {(True, False, False)}
    assert model.modes() == (True, True, False)


# Outputs


def test_an_evaluation_step_end_gets_and_replaces_the_output() -> None:
    outputs: list[float] = []

    class Ending(Line):
        def validation_step_end(self, output: float) -> float:
            return output + 1000.0

        def validation_epoch_end(self, kept: list[float]) -> None:
            outputs.extend(kept)

    make_trainer().validate(Ending(), DATA)

    assert outputs == [float(Line().loss(batch)) + 1000.0 for batch in DATA]


def test_several_loaders_bring_their_outputs_in_a_list_each() -> None:
    kept: list[Any] = []

    class Two(Line):
        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            return dataloader_idx, batch_idx

        def test_epoch_end(self, outputs: list[Any]) -> None:
            kept.append(outputs)

    make_trainer().test(Two(), [Stream(DATA[:2]), Stream(DATA[:1])])

    assert kept == [[[(0, 0), (0, 1)], [(1, 0)]]]


def test_predictions_are_kept_in_the_memory_of_the_host() -> None:
    class OnDevice:
        def cpu(self) -> str:
            return "here"

    class Pair(NamedTuple):
        first: Any
        second: Any

    @dataclass(frozen=True)
    class Record:
        value: Any

    class Predicting(Line):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return {"a": [OnDevice()], "b": (Pair(OnDevice(), 1), Record(OnDevice()))}

    (kept,) = make_trainer().predict(Predicting(), DATA[:1])

    assert kept == {"a": ["here"], "b": (Pair("here", 1), Record("here"))}
