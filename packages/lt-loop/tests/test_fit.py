"""The fit loop does what the loop it replaces does, for as long as its limits say."""

import datetime
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


def test_a_request_says_why() -> None:
    ask = Calling("on_train_batch_end", lambda trainer: trainer.stop(""))

    with pytest.raises(ValueError, match=r"says why\. Received reason=''\. Give a sentence\."):
        make_trainer(callbacks=ask).fit(Line(), DATA)


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


class Clock:
    """The time, which passes by ten seconds with each training batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.reads = 1000.0, 0
        self.passing = Calling("on_train_batch_end", self.pass_by)
        monkeypatch.setattr(time, "monotonic", self.read)

    def pass_by(self, trainer: Any) -> None:
        self.now += 10

    def read(self) -> float:
        self.reads += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
@pytest.mark.parametrize(
    ("interval", "words", "at"),
    [
        ("00:00:00:25", {}, [3, 6, 9, 12]),
        ({"seconds": 25}, {}, [3, 6, 9, 12]),
        (datetime.timedelta(seconds=70), {}, [7, 14]),
        (datetime.timedelta(seconds=5), {}, list(range(1, 15))),
        (datetime.timedelta(days=1), {}, []),
        ("00:00:00:25", {"check_val_every_n_epoch": None}, [3, 6, 9, 12]),
        ("00:00:00:25", {"check_val_every_n_epoch": 2}, [8, 11, 14]),
        ("00:00:00:25", {"accumulate_grad_batches": 2}, [3, 6, 9, 12]),
        ("00:00:00:25", {"limit_train_batches": 4}, [3, 6]),
        ("00:00:00:25", {"limit_train_batches": 99}, [3, 6, 9, 12]),
        ("00:00:00:25", {"fast_dev_run": 2}, [2]),
    ],
)
def test_validation_runs_when_the_time_has_passed(
    clock: Clock, loader: Any, interval: Any, words: dict[str, Any], at: list[int]
) -> None:
    assert validated_at(loader, clock.passing, val_check_interval=interval, **words) == at


def test_the_time_between_validations_begins_when_one_has_ended(clock: Clock) -> None:
    slow = Calling("on_validation_end", clock.pass_by)

    at = validated_at(DATA, clock.passing, slow, val_check_interval="00:00:00:20", max_epochs=1)

    assert at == [2, 4, 6]


def test_the_time_of_the_sanity_check_does_not_count(clock: Clock) -> None:
    slow = Calling("on_sanity_check_end", clock.pass_by)
    words = {"val_check_interval": "00:00:00:20", "num_sanity_val_steps": 1, "max_epochs": 1}

    assert validated_at(DATA, clock.passing, slow, **words) == [0, 2, 4, 6]


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_end"])
def test_a_request_to_stop_is_answered_with_one_validation_by_the_clock_too(
    clock: Clock, loader: Any, hook: str
) -> None:
    ask = Calling(hook, lambda trainer: trainer.stop("seen enough"), at=1)

    at = validated_at(loader, clock.passing, ask, val_check_interval="00:00:00:25")

    assert at == [1] if hook == "on_train_batch_end" else [3]


def test_the_clock_is_read_in_steps_for_those_who_ask_by_it_alone(clock: Clock) -> None:
    validated_at(DATA, clock.passing, val_check_interval=2)
    assert clock.reads == 2  # at the start and at the end

    clock.reads = 0
    validated_at(DATA, clock.passing, val_check_interval="01:00:00:00", max_epochs=1)
    assert clock.reads == 2 + len(DATA)


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


def test_a_loader_that_yields_nothing_the_second_time_is_refused() -> None:
    class UsedUp:
        def __init__(self) -> None:
            self.items = iter(DATA)

        def __iter__(self) -> Any:
            return (item for item in self.items)

    message = r"yields batches in every epoch\. Received a UsedUp that yielded none in epoch 1\."
    with pytest.raises(ValueError, match=message):
        make_trainer(max_epochs=2).fit(Line(), UsedUp())


# New loaders every so many epochs


class Renewing(Validated):
    """Its training data is another one in each epoch in which it is asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def train_dataloader(self) -> Any:
        self.asked.append(self.trainer.current_epoch)
        return data_of(self.trainer.current_epoch)


def data_of(epoch: int) -> list[Any]:
    return batches(3 + epoch % 3, start=10 * epoch)


def renewed_by_hand(*, epochs: int, every: int, accumulate: int = 1) -> float:
    optimizer = Sgd(Weight())
    for epoch in range(epochs):
        train_by_hand(optimizer, data_of(epoch - epoch % every), accumulate=accumulate)
    return optimizer.weight.value


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("every", "asked"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3])])
def test_training_goes_on_with_new_loaders(every: int, asked: list[int], accumulate: int) -> None:
    model, seen = Renewing(), []
    look = Calling(
        "on_train_epoch_start", lambda trainer: seen.append(trainer.num_training_batches)
    )
    trainer = make_trainer(
        max_epochs=5,
        reload_dataloaders_every_n_epochs=every,
        accumulate_grad_batches=accumulate,
        callbacks=look,
    )

    trainer.fit(model)

    assert model.asked == asked
    assert model.weight.value == renewed_by_hand(epochs=5, every=every, accumulate=accumulate)
    assert seen == [len(data_of(epoch - epoch % every)) for epoch in range(5)]


def test_without_the_argument_loaders_are_asked_for_once() -> None:
    model = Renewing()

    make_trainer(max_epochs=3).fit(model)

    assert model.asked == [0]


def test_an_interval_of_validation_is_a_share_of_the_new_loader() -> None:
    model = Renewing()
    words = {"reload_dataloaders_every_n_epochs": 1, "val_check_interval": 0.4}

    make_trainer(max_epochs=3, num_sanity_val_steps=0, **words).fit(model, None, batches(1))

    assert model.at == [1, 2, 3, 4, 5, 6, 7, 9, 11]  # of 3, 4 and 5 batches


def test_an_interval_that_does_not_fit_the_new_loader_is_refused_then() -> None:
    class Shrinking(Renewing):
        def train_dataloader(self) -> Any:
            return batches(3 - self.trainer.current_epoch)

    trainer = make_trainer(max_epochs=3, reload_dataloaders_every_n_epochs=1, val_check_interval=3)
    with pytest.raises(ValueError, match=r"val_check_interval=3 and 2 training batches"):
        trainer.fit(Shrinking(), None, batches(1))
    assert trainer.progress.epoch == 1


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("stop", [1, 3, 4, 7, 9, 12])
@pytest.mark.parametrize("estimates", [False, True])
def test_going_on_asks_as_the_run_that_stopped_did(stop: int, every: int, estimates: bool) -> None:
    class Estimating(Renewing):
        def configure_optimizers(self) -> Any:
            if estimates:
                _ = self.trainer.estimated_stepping_batches  # asks for the loader
            return super().configure_optimizers()

    words = {"max_epochs": 5, "reload_dataloaders_every_n_epochs": every}
    first = make_trainer(**words)
    for progress in first.steps(Estimating()):
        if progress.steps == stop:
            break
    state = first.capture()

    model = Estimating()
    make_trainer(**words).fit(model, ckpt_path=state)

    assert model.weight.value == renewed_by_hand(epochs=5, every=every)


def test_a_state_survives_a_loader_that_can_not_be_made_anew() -> None:
    class Failing(Renewing):
        fails = True

        def train_dataloader(self) -> Any:
            if self.fails and self.trainer.current_epoch == 2:
                raise OSError("the disk is gone")
            return super().train_dataloader()

    words = {"max_epochs": 4, "reload_dataloaders_every_n_epochs": 1}
    trainer = make_trainer(**words)
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.fit(Failing())
    state = trainer.capture()

    model = Failing()
    model.fails = False
    make_trainer(**words).fit(model, ckpt_path=state)

    assert model.weight.value == renewed_by_hand(epochs=4, every=1)


# Overfitting


@pytest.mark.parametrize("batches_of", [3, 0.5])
def test_overfitting_trains_and_validates_on_a_few_batches(batches_of: float) -> None:
    model, validated = Line(), []
    look = Calling("on_validation_batch_end", lambda trainer: validated.append(trainer.global_step))
    trainer = make_trainer(
        max_epochs=4, overfit_batches=batches_of, num_sanity_val_steps=0, callbacks=look
    )

    trainer.fit(model, DATA, batches(7, start=20))

    assert model.weight.value == by_hand(DATA[:3], epochs=4)
    assert validated == [3] * 3 + [6] * 3 + [9] * 3 + [12] * 3


def test_overfitting_takes_the_place_of_the_limits() -> None:
    trainer = make_trainer(
        max_epochs=1, overfit_batches=2, limit_train_batches=5, limit_val_batches=0
    )
    model = Validated()

    trainer.fit(model, DATA, batches(1))

    assert model.weight.value == by_hand(DATA[:2])
    assert model.at == [], "limit_val_batches=0 still means no validation"


# Loaders without a length


@pytest.mark.parametrize("limit", [1.0, 1, 3, 6, 7, 8, 99])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("interval", [1.0, 1, 2])
def test_limits_cut_a_loader_without_a_length_as_one_with(
    limit: Any, accumulate: int, interval: Any
) -> None:
    words = {
        "limit_train_batches": limit,
        "accumulate_grad_batches": accumulate,
        "val_check_interval": interval if isinstance(interval, float) else min(interval, limit),
        "max_epochs": 2,
        "num_sanity_val_steps": 0,
    }
    model, other = Validated(), Validated()

    make_trainer(**words).fit(model, Stream(DATA), batches(2))
    make_trainer(**words).fit(other, DATA, batches(2))

    data = DATA if limit == 1.0 and isinstance(limit, float) else DATA[:limit]
    assert model.weight.value == by_hand(data, epochs=2, accumulate=accumulate)
    assert model.weight.value == other.weight.value
    assert model.at == other.at


def test_gradients_that_wait_for_their_step_survive_a_validation() -> None:
    class Clearing(Validated):
        def on_validation_model_zero_grad(self) -> None:
            self.weight.grad = None

    model = Clearing()
    trainer = make_trainer(max_epochs=1, accumulate_grad_batches=2, val_check_interval=1)
    trainer.fit(model, DATA, batches(1))

    assert model.weight.value == by_hand(DATA, accumulate=2)


def test_max_time_waits_for_the_minimum(clock: Clock) -> None:
    trainer = make_trainer(max_time="00:00:00:01", min_steps=3, callbacks=clock.passing)
    result = trainer.fit(Line(), DATA)

    assert (result.progress.steps, result.reason) == (3, "max_time of 1 seconds reached")


def test_a_run_that_goes_on_counts_the_time_before(clock: Clock) -> None:
    words = {"max_time": "00:00:00:45", "callbacks": clock.passing}
    first = make_trainer(**words)
    for progress in first.steps(Line(), DATA):
        if progress.steps == 3:
            break
    rest = make_trainer(**words).fit(Line(), DATA, ckpt_path=first.capture())
    whole = make_trainer(**words).fit(Line(), DATA)

    assert rest.progress.steps == whole.progress.steps == 5
