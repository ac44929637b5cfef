"""The callback in real runs."""

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from lt_callbacks import EarlyStopping
from lt_callbacks.early_stopping import EarlyStoppingReason

BATCHES = [0, 1]


def test_a_run_stops_and_says_why(scripted: Any, make_trainer: Any) -> None:
    stopping = EarlyStopping("val_loss", patience=2)
    program = scripted(val_loss=[5, 4, 3, 3.5, 3])

    result = make_trainer(stopping).fit(program, BATCHES, BATCHES)

    assert result.progress.epoch == 5
    assert result.reason == "val_loss has not improved in 2 checks; its best was 3"
    assert stopping.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED
    assert stopping.stopping_reason_message == result.reason
    assert (stopping.stopped_epoch, stopping.wait_count, stopping.best_score) == (4, 2, 3.0)


def test_a_run_that_improves_goes_on(scripted: Any, make_trainer: Any) -> None:
    stopping = EarlyStopping("val_loss", patience=1)
    program = scripted(val_loss=[-epoch for epoch in range(6)])

    result = make_trainer(stopping, max_epochs=6).fit(program, BATCHES, BATCHES)

    assert result.reason == "max_epochs=6 reached"
    assert stopping.stopping_reason is EarlyStoppingReason.NOT_STOPPED


def test_a_training_value_can_be_monitored_without_validation(
    scripted: Any, make_trainer: Any
) -> None:
    program = scripted(loss=[3, 2, 2, 2])

    result = make_trainer(EarlyStopping("loss", patience=2)).fit(program, BATCHES)

    assert result.progress.epoch == 4


def test_the_epochs_value_is_judged_rather_than_that_of_the_last_step(
    scripted: Any, make_trainer: Any
) -> None:
    class Falling(scripted):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.trainer.log("loss", [1.0, 0.5][batch], on_step=True, on_epoch=True, batch_size=1)
            return super().training_step(batch, batch_idx)

    stopping = EarlyStopping("loss", patience=1)
    make_trainer(stopping).fit(Falling(), BATCHES)

    assert stopping.best_score == 0.75


def test_it_checks_after_validations_that_are_not_once_an_epoch(
    scripted: Any, make_trainer: Any
) -> None:
    program = scripted(val_loss=[9, 3, 9, 3, 9, 3])  # validated in epochs 1, 3 and 5

    result = make_trainer(EarlyStopping("val_loss", patience=2), check_val_every_n_epoch=2).fit(
        program, BATCHES, BATCHES
    )

    assert result.progress.epoch == 6
    assert result.reason == "val_loss has not improved in 2 checks; its best was 3"


@pytest.mark.parametrize("interval", [0.5, 1])
def test_it_checks_several_times_in_an_epoch(
    scripted: Any, make_trainer: Any, interval: float
) -> None:
    stopping = EarlyStopping("val_loss", patience=100)

    make_trainer(stopping, val_check_interval=interval, max_epochs=3).fit(
        scripted(val_loss=[1]), BATCHES, BATCHES
    )

    assert stopping.wait_count == 2 * 3 - 1


@pytest.mark.parametrize(("at_train_epoch_end", "checks"), [(True, 2), (False, 4)])
def test_the_moment_can_be_chosen(
    scripted: Any, make_trainer: Any, at_train_epoch_end: bool, checks: int
) -> None:
    stopping = EarlyStopping("val_loss", patience=100, check_on_train_epoch_end=at_train_epoch_end)

    make_trainer(stopping, val_check_interval=0.5, max_epochs=2).fit(
        scripted(val_loss=[1]), BATCHES, BATCHES
    )

    assert stopping.wait_count == checks - 1


def test_the_sanity_check_does_not_count(scripted: Any, make_trainer: Any) -> None:
    stopping = EarlyStopping("val_loss", patience=100, check_on_train_epoch_end=False)

    make_trainer(stopping, num_sanity_val_steps=2, max_epochs=1).fit(
        scripted(val_loss=[1]), BATCHES, BATCHES
    )

    assert stopping.wait_count == 0
    assert stopping.best_score == 1.0


def test_validate_and_test_leave_the_count_of_the_fit(scripted: Any, make_trainer: Any) -> None:
    stopping = EarlyStopping("val_loss", patience=2, check_on_train_epoch_end=False)
    program, trainer = scripted(val_loss=[1]), make_trainer(stopping)
    trainer.fit(program, BATCHES, BATCHES)
    before = stopping.state_dict()

    trainer.validate(program, BATCHES, verbose=False)
    trainer.test(program, BATCHES, verbose=False)

    assert (before["wait_count"], before["stopped_epoch"]) == (2, 2)
    assert stopping.state_dict() == before


def test_min_epochs_has_the_last_word(scripted: Any, make_trainer: Any) -> None:
    trainer = make_trainer(EarlyStopping("val_loss", patience=1), min_epochs=7)

    assert trainer.fit(scripted(val_loss=[1]), BATCHES, BATCHES).progress.epoch == 7


def test_a_missing_value_is_an_error_that_names_the_closest(
    scripted: Any, make_trainer: Any
) -> None:
    program = scripted(val_loss=[1], val_acc=[1])

    with pytest.raises(
        LookupError,
        match=r"Received monitor='val_los', but what was logged is val_loss, val_acc\. "
        r"Did you mean 'val_loss'\? Log it before the check, or set strict=False\.",
    ):
        make_trainer(EarlyStopping("val_los")).fit(program, BATCHES, BATCHES)


def test_a_missing_value_is_skipped_if_asked_to(
    scripted: Any, make_trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    quiet = EarlyStopping("val_los", strict=False)
    telling = EarlyStopping("banana", strict=False, verbose=True)

    result = make_trainer(quiet, telling, max_epochs=5).fit(
        scripted(val_loss=[1]), BATCHES, BATCHES
    )

    assert result.reason == "max_epochs=5 reached"
    told = [r.getMessage() for r in caplog.records if r.name == "lt_callbacks"]
    assert len(told) == 5
    assert all("monitor='banana'" in message for message in told)


def test_verbose_goes_through_logging(
    scripted: Any, make_trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lt_callbacks")
    program = scripted(val_loss=[2, 1, 1])

    make_trainer(EarlyStopping("val_loss", patience=1)).fit(program, BATCHES, BATCHES)
    quiet = [r for r in caplog.records if r.name == "lt_callbacks"]
    make_trainer(EarlyStopping("val_loss", patience=1, verbose=True)).fit(program, BATCHES, BATCHES)
    told = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "lt_callbacks"]

    assert quiet == []
    assert told == [
        ("INFO", "val_loss=2 is the best so far"),
        ("INFO", "val_loss=1 is the best so far, by 1"),
        ("INFO", "val_loss has not improved in 1 check; its best was 1"),
    ]


@pytest.mark.parametrize(
    ("zero_only", "told"), [(False, ["[rank 1] x=1 is the best so far"]), (True, [])]
)
def test_other_ranks_say_who_they_are_or_nothing(
    zero_only: bool, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lt_callbacks")
    limits = SimpleNamespace(val_check_interval=1.0, check_val_every_n_epoch=1)
    rank_one: Any = SimpleNamespace(
        limits=limits,
        fast_dev_run=False,
        callback_metrics={"x": 1.0},
        is_global_zero=False,
        global_rank=1,
        world_size=2,
        current_epoch=0,
    )
    stopping = EarlyStopping("x", verbose=True, log_rank_zero_only=zero_only)
    stopping.setup(rank_one, None, "fit")

    stopping.on_train_epoch_end(rank_one, None)

    assert [r.getMessage() for r in caplog.records] == told


VALUES = [5, 4, 3, 3.5, 3.25, 3.5, 2]


@pytest.mark.parametrize("stop_after", range(1, 10))
def test_a_resumed_run_stops_where_the_whole_one_does(
    scripted: Any, make_trainer: Any, stop_after: int
) -> None:
    whole = make_trainer(EarlyStopping("val_loss")).fit(scripted(val_loss=VALUES), BATCHES, BATCHES)
    first = make_trainer(EarlyStopping("val_loss"))
    for progress in first.steps(scripted(val_loss=VALUES), BATCHES, BATCHES):
        if progress.steps == stop_after:
            state = json.loads(json.dumps(first.capture()))
            break

    stopping = EarlyStopping("val_loss")
    resumed = make_trainer(stopping).fit(
        scripted(val_loss=VALUES), BATCHES, BATCHES, ckpt_path=state
    )

    assert (resumed.reason, resumed.progress) == (whole.reason, whole.progress)
    assert stopping.stopped_epoch == 5


def test_each_fit_starts_with_a_fresh_count(scripted: Any, make_trainer: Any) -> None:
    trainer = make_trainer(EarlyStopping("val_loss", patience=2))
    first = trainer.fit(scripted(val_loss=[1]), BATCHES, BATCHES)

    second = trainer.fit(scripted(val_loss=[9, 8, 8, 8]), BATCHES, BATCHES)

    assert first.progress.epoch == 3
    assert second.progress.epoch == 4


def test_the_state_has_lightnings_names_and_key() -> None:
    """From Lightning 2.6: a state of its EarlyStopping under the key it has in its checkpoints."""
    saved = {
        "wait_count": 2,
        "stopped_epoch": 0,
        "best_score": 0.25,
        "patience": 7,
        "stopping_reason": 0,
        "stopping_reason_message": None,
    }
    stopping = EarlyStopping("val_acc", mode="max")

    stopping.load_state_dict(saved)

    assert stopping.state_key == "EarlyStopping{'monitor': 'val_acc', 'mode': 'max'}"
    assert stopping.state_dict() == saved
    assert (stopping.wait_count, stopping.patience, stopping.best_score) == (2, 7, 0.25)


def test_states_of_older_versions_have_no_reason() -> None:
    old = {"wait_count": 1, "stopped_epoch": 0, "best_score": 1.0, "patience": 3}
    stopping = EarlyStopping("val_loss")

    stopping.load_state_dict(old)

    assert stopping.stopping_reason is EarlyStoppingReason.NOT_STOPPED


def test_several_with_other_values_live_together(scripted: Any, make_trainer: Any) -> None:
    callbacks = [EarlyStopping("val_loss", patience=9), EarlyStopping("val_acc", mode="max")]
    program = scripted(val_loss=[1], val_acc=[1, 2, 1])

    result = make_trainer(*callbacks).fit(program, BATCHES, BATCHES)

    assert result.reason == "val_acc has not improved in 3 checks; its best was 2"


def test_the_trainer_finds_it_by_its_role(make_trainer: Any) -> None:
    stopping = EarlyStopping("val_loss")

    assert make_trainer(stopping).early_stopping_callback is stopping


def test_a_run_that_only_tries_the_code_out_is_not_judged(scripted: Any, make_trainer: Any) -> None:
    trainer = make_trainer(EarlyStopping("missing"), fast_dev_run=2)

    assert trainer.fit(scripted(loss=[1.0]), BATCHES).reason == "max_steps=2 reached"
