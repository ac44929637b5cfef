"""Timer against a clock that the test moves."""

import datetime
from typing import Any

import pytest

from lt_callbacks import LambdaCallback, Timer
from lt_callbacks.stopwatch import STAGES, Stopwatch
from lt_callbacks.timer import seconds_of


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def ticks(self, **seconds: float) -> LambdaCallback:
        """A callback that moves the clock in hooks, so many seconds in each call."""

        def tick(name: str) -> Any:
            def function(*arguments: Any) -> None:
                self.seconds += seconds[name]

            return function

        return LambdaCallback(**{name: tick(name) for name in seconds})


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("00:00:00:01", 1.0),
        ("02:03:04:05", 2 * 86400 + 3 * 3600 + 4 * 60 + 5),
        ({"weeks": 1, "hours": 1}, 7 * 86400 + 3600),
        (datetime.timedelta(milliseconds=1500), 1.5),
    ],
)
def test_a_duration_is_read(given: Any, seconds: float) -> None:
    assert seconds_of(given) == seconds


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"duration": "1:00"}, ValueError, "duration as a string is 'DD:HH:MM:SS'"),
        ({"duration": {"fortnights": 1}}, TypeError, "keyword arguments of datetime.timedelta"),
        ({"duration": 3}, TypeError, "Received duration=3"),
        ({"duration": datetime.timedelta(-1)}, ValueError, "may not be negative"),
        ({"interval": "steps"}, ValueError, "Did you mean 'step'?"),
    ],
)
def test_bad_arguments_are_refused(words: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message.replace("?", r"\?")):
        Timer(**words)


def test_a_stage_that_has_not_begun_took_no_time() -> None:
    watch = Stopwatch(Clock())

    watch.end("test")

    assert [watch.elapsed(stage) for stage in STAGES] == [0.0] * 5
    assert watch.started("test") is watch.ended("test") is None
    with pytest.raises(ValueError, match=r"Received 'training'\. Did you mean 'train'\?"):
        watch.elapsed("training")


def test_the_second_time_a_stage_begins_counts_from_there() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    watch.begin("validate")
    clock.seconds += 5
    watch.end("validate")
    clock.seconds += 5
    watch.begin("validate")

    clock.seconds += 1

    assert watch.elapsed("validate") == 1.0
    assert watch.ended("validate") is None


def test_each_stage_is_timed(scripted: Any, make_trainer: Any) -> None:
    clock = Clock()
    timer = Timer(clock=clock)
    ticks = clock.ticks(on_train_batch_end=1, on_validation_batch_end=10, on_test_batch_end=100)
    trainer = make_trainer(timer, ticks, max_epochs=2, num_sanity_val_steps=1)
    program = scripted(train_x=[1], val_x=[1], test_x=[1])

    trainer.fit(program, [0, 1, 2], [0, 1])
    trainer.test(program, [0, 1], verbose=False)

    assert timer.time_elapsed("sanity_check") == 10
    assert timer.time_elapsed("validate") == 20  # the last one
    assert timer.time_elapsed() == 2 * 3 + 2 * 20
    assert timer.time_elapsed("test") == 200
    assert timer.end_time("test") - timer.start_time("test") == 200
    assert timer.time_elapsed("predict") == 0
    assert timer.time_remaining() is None


@pytest.mark.parametrize(("interval", "steps"), [("step", 4), ("epoch", 6)])
def test_training_stops_when_the_time_is_up(
    interval: Any, steps: int, scripted: Any, make_trainer: Any, caplog: Any
) -> None:
    clock = Clock()
    timer = Timer("00:00:00:04", interval, clock=clock)
    trainer = make_trainer(clock.ticks(on_train_batch_end=1), timer)

    with caplog.at_level("INFO", "lt_callbacks"):
        result = trainer.fit(scripted(train_x=[1]), [0, 1, 2])

    assert result.progress.steps == steps
    assert result.reason == "the 4 seconds of the Timer are up"
    assert timer.time_remaining() == 4 - steps
    assert [r.getMessage() for r in caplog.records if r.name == "lt_callbacks"] == [
        f"the 4 seconds of the Timer are up, after {steps} seconds of training"
    ]


def test_it_may_say_nothing(scripted: Any, make_trainer: Any, caplog: Any) -> None:
    clock = Clock()
    timer = Timer({"seconds": 1}, verbose=False, clock=clock)

    with caplog.at_level("INFO", "lt_callbacks"):
        make_trainer(clock.ticks(on_train_batch_end=1), timer).fit(scripted(train_x=[1]), [0, 1])

    assert not [r for r in caplog.records if r.name == "lt_callbacks"]


def test_time_before_a_resume_counts(scripted: Any, make_trainer: Any) -> None:
    clock = Clock()
    batches = [0, 1, 2, 3, 4]

    def trainer() -> Any:
        return make_trainer(clock.ticks(on_train_batch_end=1), Timer("00:00:00:07", clock=clock))

    first = trainer()
    for progress in first.steps(scripted(train_x=[1]), batches):
        if progress.steps == 3:
            break
    state = first.capture()
    clock.seconds += 10_000  # between the runs

    result = trainer().fit(scripted(train_x=[1]), batches, ckpt_path=state)

    assert result.progress.steps == 7
    assert state["callbacks"]["Timer"]["time_elapsed"]["train"] == 3


def test_a_resumed_run_without_time_takes_no_step(scripted: Any, make_trainer: Any) -> None:
    clock = Clock()
    first = make_trainer(clock.ticks(on_train_batch_end=1), Timer(clock=clock))
    for progress in first.steps(scripted(train_x=[1]), [0, 1, 2]):
        if progress.steps == 2:
            break

    second = make_trainer(Timer({"seconds": 2}, clock=clock))
    result = second.fit(scripted(train_x=[1]), [0, 1, 2], ckpt_path=first.capture())

    assert result.progress.steps == 2
    assert result.reason == "the 2 seconds of the Timer are up"


def test_each_fit_has_the_whole_time(scripted: Any, make_trainer: Any) -> None:
    clock = Clock()
    trainer = make_trainer(clock.ticks(on_train_batch_end=1), Timer({"seconds": 2}, clock=clock))

    results = [trainer.fit(scripted(train_x=[1]), [0, 1, 2]) for _ in range(2)]

    assert [result.progress.steps for result in results] == [2, 2]
