"""The fit loop does what the loop it replaces does, for as long as its limits say."""

import time
from typing import Any

import pytest
from toys import (
    Calling,
    Line,
    Sgd,
    Stream,
    Weight,
    batches,
    by_hand,
    make_trainer,
    train_by_hand,
)

from lt_loop import Callback

DATA = batches(7)


class Validated(Line):
    """Notes after how many training batches each validation ran."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[int] = []

    def on_validation_start(self) -> None:
        self.at.append(self.trainer.progress.batches)


def validated_at(data: Any = DATA, *callbacks: Callback, **words: Any) -> list[int]:
    model = Validated()
    words = {"num_sanity_val_steps": 0, "max_epochs": 2, "callbacks": list(callbacks)} | words
    make_trainer(**words).fit(model, data, batches(1))
    return model.at


# What is computed


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 7, 100])
def test_a_fit_computes_what_the_loop_it_replaces_computes(loader: Any, accumulate: int) -> None:
    model = Line()

    result = make_trainer(max_epochs=3, accumulate_grad_batches=accumulate).fit(model, loader)

    assert model.weight.value == by_hand(DATA, epochs=3, accumulate=accumulate)
    assert result.progress.batches == 21
    assert result.progress.steps == 3 * -(-7 // accumulate)
    assert (result.progress.epoch, result.progress.batch) == (3, 0)


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
def test_accumulation_windows_end_where_the_limit_does(loader: Any) -> None:
    model = Line()

    make_trainer(max_epochs=2, accumulate_grad_batches=2, limit_train_batches=5).fit(model, loader)

    assert model.weight.value == by_hand(DATA[:5], epochs=2, accumulate=2)


def test_accumulation_may_change_from_epoch_to_epoch() -> None:
    model, seen = Line(), []
    look = Calling("on_train_epoch_end", lambda trainer: seen.append(trainer.global_step))
    trainer = make_trainer(max_epochs=5, accumulate_grad_batches={1: 3, 3: 7}, callbacks=look)
    trainer.fit(model, DATA)

    assert seen == [7, 7 + 3, 7 + 6, 7 + 6 + 1, 7 + 6 + 2]
    weight, optimizer = model.weight, Sgd(Weight())
    for size in (1, 3, 3, 7, 7):
        train_by_hand(optimizer, DATA, accumulate=size)
    assert weight.value == optimizer.weight.value


def test_limit_train_batches_as_a_share() -> None:
    model = Line()

    make_trainer(max_epochs=1, limit_train_batches=0.5).fit(model, DATA)

    assert model.weight.value == by_hand(DATA[:3])


def test_no_training_batches_train_nothing() -> None:
    model = Line()

    result = make_trainer(max_epochs=1, limit_train_batches=0).fit(model, DATA)

    assert (model.weight.value, result.progress.batches) == (0.0, 0)
    assert "limit_train_batches=0" in result.reason


def test_each_fit_is_a_fresh_run() -> None:
    model, trainer = Line(), make_trainer(max_epochs=1)

    trainer.fit(model, DATA)
    second = Line()
    result = trainer.fit(second, DATA)

    assert result.progress.epoch == 1
    assert second.weight.value == by_hand(DATA)


# For how long


@pytest.mark.parametrize(
    ("words", "steps", "epochs", "reason"),
    [
        ({"max_epochs": 2}, 14, 2, "max_epochs=2 reached"),
        ({"max_steps": 7}, 7, 1, "max_steps=7 reached"),
        ({"max_steps": 9}, 9, 1, "max_steps=9 reached"),
        ({"max_steps": 14, "max_epochs": 5}, 14, 2, "max_steps=14 reached"),
        ({"max_epochs": 1, "max_steps": 100}, 7, 1, "max_epochs=1 reached"),
        ({"max_epochs": 0}, 0, 0, "max_epochs=0 reached"),
        ({"max_steps": 0}, 0, 0, "max_steps=0 reached"),
        ({"max_epochs": -1, "max_steps": 8}, 8, 1, "max_steps=8 reached"),
        ({"fast_dev_run": True}, 1, 1, "max_steps=1 reached"),
        ({"fast_dev_run": 3}, 3, 1, "max_steps=3 reached"),
    ],
    ids=str,
)
def test_the_limit_reached_first_ends_a_fit(
    words: dict[str, Any], steps: int, epochs: int, reason: str
) -> None:
    result = make_trainer(**words).fit(Line(), DATA)

    assert (result.progress.steps, result.progress.epoch) == (steps, epochs)
    assert result.reason == reason


def test_max_steps_counts_optimizer_steps_and_not_batches() -> None:
    result = make_trainer(max_steps=3, accumulate_grad_batches=2).fit(Line(), DATA)

    assert (result.progress.steps, result.progress.batches) == (3, 6)


def test_max_time_ends_a_fit_at_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def ten_seconds_pass(trainer: Any) -> None:
        now[0] += 10

    waiting = Calling("on_train_batch_end", ten_seconds_pass)
    trainer = make_trainer(max_time="00:00:00:25", callbacks=waiting)
    result = trainer.fit(Line(), DATA)

    assert result.progress.steps == 3
    assert result.reason == "max_time of 25 seconds reached"


def test_the_clock_of_max_time_starts_with_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def an_hour_passes(trainer: Any) -> None:
        now[0] += 3600

    slow_start = Calling("setup", an_hour_passes)
    trainer = make_trainer(max_time={"minutes": 1}, max_epochs=1, callbacks=slow_start)

    assert trainer.fit(Line(), DATA).reason == "max_epochs=1 reached"


# Requests to stop


def test_a_request_stops_after_the_step_in_which_it_was_made() -> None:
    ask = Calling("on_train_batch_end", lambda trainer: trainer.stop("seen enough"), at=3)

    result = make_trainer(callbacks=ask).fit(Line(), DATA)

    assert result.progress.steps == 3
    assert result.reason == "seen enough"


def test_a_request_waits_for_the_accumulation_window_to_close() -> None:
    ask = Calling("on_train_batch_end", lambda trainer: trainer.stop("seen enough"), at=4)
    model = Line()

    make_trainer(callbacks=ask, accumulate_grad_batches=3).fit(model, DATA)

    assert model.weight.value == by_hand(DATA[:6], accumulate=3)


def test_should_stop_is_lightnings_spelling_of_a_request() -> None:
    def ask(trainer: Any) -> None:
        trainer.should_stop = True
        assert trainer.should_stop

    result = make_trainer(callbacks=Calling("on_train_batch_end", ask, at=2)).fit(Line(), DATA)

    assert result.progress.steps == 2
    assert "should_stop" in result.reason


def test_a_request_can_be_taken_back() -> None:
    def ask_and_repent(trainer: Any) -> None:
        trainer.should_stop = True
        trainer.should_stop = False

    repentant = Calling("on_train_batch_end", ask_and_repent)

    assert make_trainer(callbacks=repentant, max_epochs=1).fit(Line(), DATA).progress.steps == 7


def test_a_request_does_not_outlive_its_run() -> None:
    trainer = make_trainer(
        max_epochs=1, callbacks=Calling("on_train_end", lambda trainer: trainer.stop("late"))
    )
    trainer.fit(Line(), DATA)

    assert trainer.fit(Line(), DATA).reason == "max_epochs=1 reached"


@pytest.mark.parametrize(
    ("least", "steps"),
    [({"min_steps": 5}, 5), ({"min_steps": 9}, 9), ({"min_epochs": 2}, 14), ({"min_epochs": 0}, 1)],
    ids=str,
)
def test_a_request_waits_for_the_minimum(least: dict[str, int], steps: int) -> None:
    ask = Calling("on_train_batch_end", lambda trainer: trainer.stop("seen enough"), at=1)

    result = make_trainer(callbacks=ask, max_epochs=9, **least).fit(Line(), DATA)

    assert result.progress.steps == steps


@pytest.mark.parametrize(
    ("hook", "steps"),
    [
        ("on_fit_start", 0),
        ("on_train_start", 0),
        ("on_train_epoch_start", 1),
        ("on_train_epoch_end", 7),
        ("on_validation_end", 7),
    ],
)
def test_a_request_can_be_made_anywhere(hook: str, steps: int) -> None:
    ask = Calling(hook, lambda trainer: trainer.stop("seen enough"))
    trainer = make_trainer(callbacks=ask, num_sanity_val_steps=0)

    result = trainer.fit(Line(), DATA, batches(1))

    assert (result.progress.steps, result.reason) == (steps, "seen enough")


def test_a_request_without_a_validation_loader_stops_too() -> None:
    class OnlyTraining:
        training_step, configure_optimizers = Line.training_step, Line.configure_optimizers
        loss = Line.loss
        weight = Line().weight

    ask = Calling("on_train_batch_end", lambda trainer: trainer.stop("seen enough"), at=2)

    assert make_trainer(callbacks=ask).fit(OnlyTraining(), DATA).progress.steps == 2


# The end of an epoch


def test_an_epoch_that_a_limit_cuts_short_is_ended_but_not_counted() -> None:
    ends = Calling("on_train_epoch_end", lambda trainer: None)

    result = make_trainer(max_steps=9, callbacks=ends).fit(Line(), DATA)

    assert ends.calls == 2
    assert (result.progress.epoch, result.progress.batch) == (1, 2)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_minus_one_from_a_batch_start_skips_the_rest_of_the_epoch(accumulate: int) -> None:
    class Skipping(Line):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 4 else None

    model = Skipping()
    trainer = make_trainer(max_epochs=2, accumulate_grad_batches=accumulate)
    result = trainer.fit(model, DATA)

    assert model.weight.value == by_hand(DATA[:4], epochs=2, accumulate=accumulate)
    assert (result.progress.epoch, result.progress.batches) == (2, 8)


def test_gradients_of_a_window_that_was_skipped_are_dropped() -> None:
    class Skipping(Line):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 3 else None

    model = Skipping()
    make_trainer(max_epochs=2, accumulate_grad_batches=2).fit(model, DATA)

    assert model.weight.value == by_hand(DATA[:2], epochs=2, accumulate=2)


def test_all_of_an_epoch_may_be_skipped() -> None:
    class Skipping(Line):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if self.trainer.current_epoch == 1 else None

    model = Skipping()
    make_trainer(max_epochs=3).fit(model, DATA)

    assert model.weight.value == by_hand(DATA, epochs=2)


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
def test_a_skipped_epoch_is_not_validated(loader: Any) -> None:
    skip = Calling("on_train_batch_start", lambda trainer: -1, at=3)

    assert validated_at(loader, skip) == [9]


def test_no_epochs_train_nothing() -> None:
    calls = [Calling(hook, lambda trainer: None) for hook in ("on_train_start", "on_train_end")]
    result = make_trainer(max_epochs=0, callbacks=calls).fit(Line(), DATA)

    assert result.reason == "max_epochs=0 reached"
    assert [call.calls for call in calls] == [0, 0]


# Schedules


class Watched(Line):
    """Notes each step of its schedule, among the hooks around it."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.config = config

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self, **self.config}}

    def step(self, metric: float | None = None) -> None:
        self.seen.append("step" if metric is None else f"step {metric:g}")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer.log("count", self.trainer.progress.batches)
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append("batch")

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer.log("seen", len(self.seen))
        self.seen.append("validation")

    def on_train_epoch_end(self) -> None:
        self.seen.append("epoch")


def moments(loader: Any = DATA[:3], *callbacks: Callback, **config: Any) -> str:
    model = Watched(**config)
    words: dict[str, Any] = {"max_epochs": 1, "num_sanity_val_steps": 0}
    make_trainer(**words, callbacks=callbacks).fit(model, loader, batches(1))
    return ", ".join(model.seen)


def test_a_schedule_by_epoch_steps_before_the_end_of_the_last_batch() -> None:
    assert moments(interval="epoch") == "batch, batch, step, batch, validation, epoch"


def test_a_schedule_by_epoch_steps_where_the_end_of_the_epoch_shows() -> None:
    skip = Calling("on_train_batch_start", lambda trainer: -1, at=3)

    assert moments(Stream(DATA[:3])) == "batch, batch, batch, step, validation, epoch"
    assert moments(DATA[:3], skip) == "batch, batch, step, epoch"


def test_a_schedule_by_step_steps_before_the_end_of_the_batch() -> None:
    expected = "step, batch, step, batch, step, batch, validation, epoch"

    assert moments(interval="step") == expected


def test_a_plateau_by_epoch_looks_at_what_the_whole_epoch_logged() -> None:
    words = {"monitor": "seen", "reduce_on_plateau": True}

    assert moments(**words) == "batch, batch, batch, validation, epoch, step 3"


def test_a_plateau_by_step_looks_after_the_validation_of_the_step() -> None:
    words = {"interval": "step", "reduce_on_plateau": True}

    seen = moments(DATA[:2], **words, monitor="count")
    assert seen == "batch, step 0, batch, validation, step 1, epoch"
    seen = moments(DATA[:2], **words, monitor="seen", strict=False)
    assert seen == "batch, batch, validation, step 2, epoch"


# Validation


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
@pytest.mark.parametrize(
    ("words", "at"),
    [
        ({}, [7, 14]),
        ({"val_check_interval": 1.0}, [7, 14]),
        ({"val_check_interval": 1}, list(range(1, 15))),
        ({"val_check_interval": 3}, [3, 6, 10, 13]),
        ({"val_check_interval": 7}, [7, 14]),
        ({"check_val_every_n_epoch": 2, "max_epochs": 4}, [14, 28]),
        ({"check_val_every_n_epoch": 2, "val_check_interval": 3, "max_epochs": 2}, [10, 13]),
        ({"max_steps": 9}, [7]),
        ({"limit_val_batches": 0}, []),
        ({"check_val_every_n_epoch": None, "val_check_interval": 4}, [4, 8, 12]),
        ({"check_val_every_n_epoch": None, "val_check_interval": 10}, [10]),
    ],
    ids=str,
)
def test_validation_runs_when_it_is_due(loader: Any, words: dict[str, Any], at: list[int]) -> None:
    assert validated_at(loader, **words) == at


@pytest.mark.parametrize(
    ("interval", "at"), [(0.5, [3, 6, 10, 13]), (0.01, list(range(1, 15)))], ids=str
)
def test_validation_runs_after_shares_of_an_epoch(interval: float, at: list[int]) -> None:
    assert validated_at(val_check_interval=interval) == at


def test_validation_runs_within_an_accumulation_window_too() -> None:
    assert validated_at(val_check_interval=3, accumulate_grad_batches=2) == [3, 6, 10, 13]


@pytest.mark.parametrize(
    ("words", "at"),
    [
        ({}, [3]),
        ({"val_check_interval": 2}, [2, 3]),
        ({"check_val_every_n_epoch": 2}, []),
    ],
    ids=str,
)
def test_a_request_to_stop_within_an_epoch_is_answered_with_a_validation(
    words: dict[str, Any], at: list[int]
) -> None:
    """As in Lightning, so that what was learned last is measured; once for each batch."""
    ask = Calling("on_train_batch_end", lambda trainer: trainer.stop("seen enough"), at=3)

    assert validated_at(DATA, ask, **words) == at


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
def test_a_request_made_by_a_validation_is_not_answered_with_another(loader: Any) -> None:
    ask = Calling("on_validation_end", lambda trainer: trainer.stop("seen enough"), at=1)

    assert validated_at(loader, ask, val_check_interval=2) == [2]


def test_an_interval_of_validation_does_not_matter_where_nobody_validates() -> None:
    result = make_trainer(max_epochs=1, val_check_interval=3).fit(Line(), DATA)

    assert result.progress.batches == 7


def test_limit_val_batches_limits_each_loader() -> None:
    seen: list[tuple[int, int]] = []

    class Two(Line):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            seen.append((dataloader_idx, batch_idx))

    loaders = [Stream(batches(3)), Stream(batches(1))]
    trainer = make_trainer(max_epochs=1, limit_val_batches=2, num_sanity_val_steps=0)
    trainer.fit(Two(), DATA, loaders)

    assert seen == [(0, 0), (0, 1), (1, 0)]


# The outcome


def test_the_result_says_why_and_how_far_and_holds_the_last_metrics() -> None:
    class Logging(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.trainer.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("val_loss", 0.25)

    trainer = make_trainer(max_epochs=1)
    model = Logging()
    result = trainer.fit(model, DATA, batches(1))

    before_the_last_step = by_hand(DATA[:-1])
    assert result.metrics == {
        "loss": float(Line(before_the_last_step).loss(DATA[-1])),
        "val_loss": 0.25,
    }
    assert trainer.result is result
