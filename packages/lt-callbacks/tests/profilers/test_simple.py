"""SimpleProfiler adds up seconds, those of a clock that the test turns."""

from typing import Any

import pytest

from lt_callbacks.profilers import SimpleProfiler
from lt_callbacks.profilers.simple import Total
from lt_loop.solo import IterableFeed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def turned() -> Clock:
    return Clock()


@pytest.fixture
def filled(turned: Clock) -> SimpleProfiler:
    """Ten seconds: two batches of three seconds, with a step of two in each, and a wait."""
    profiler = SimpleProfiler(clock=turned)
    for _ in range(2):
        with profiler.profile("batch"):
            turned.now += 1
            with profiler.profile("step"):
                turned.now += 2
    turned.now += 3.5
    with profiler.profile("wait"):
        turned.now += 0.5
    return profiler


def test_seconds_and_calls_are_added_up(filled: SimpleProfiler) -> None:
    assert filled.totals == {"batch": Total(2, 6.0), "step": Total(2, 4.0), "wait": Total(1, 0.5)}


def test_the_report_begins_with_what_took_longest(filled: SimpleProfiler) -> None:
    assert filled.summary().splitlines() == [
        "Profiler Report",
        "",
        "--------------------------------------------------------------------",
        " Action  Mean duration (s)  Num calls  Total time (s)  Percentage %",
        "--------------------------------------------------------------------",
        " Total                                             10         100.0",
        " batch                   3          2               6          60.0",
        " step                    2          2               4          40.0",
        " wait                  0.5          1             0.5           5.0",
        "--------------------------------------------------------------------",
    ]


def test_the_report_may_be_short(filled: SimpleProfiler) -> None:
    filled.extended = False

    assert filled.summary().splitlines()[3:7] == [
        " Action  Mean duration (s)  Total time (s)",
        "-------------------------------------------",
        " Total                                  10",
        " batch                   3               6",
    ]


def test_nothing_recorded_is_no_report() -> None:
    profiler = SimpleProfiler()
    assert profiler.summary() == ""

    profiler.start("an action")
    assert profiler.summary() == ""


def test_actions_that_take_no_time_are_shown() -> None:
    profiler = SimpleProfiler(clock=lambda: 0.0)
    with profiler.profile("an action"):
        pass

    assert " an action                  0          1               0           0.0" in (
        profiler.summary().splitlines()
    )


def test_time_after_the_last_action_does_not_count(filled: SimpleProfiler, turned: Clock) -> None:
    report = filled.summary()
    turned.now += 1000

    assert filled.summary() == report


def test_an_action_is_begun_once_and_ended_once() -> None:
    profiler = SimpleProfiler()
    profiler.start("a")
    with pytest.raises(ValueError, match=r"^An action ends before .* start\('a'\) twice\. Use two"):
        profiler.start("a")
    profiler.stop("a")
    with pytest.raises(ValueError, match=r"^An action that ends was begun\. Received stop\('a'\)"):
        profiler.stop("a")


def test_actions_may_overlap(turned: Clock) -> None:
    profiler = SimpleProfiler(clock=turned)
    profiler.start("a")
    turned.now += 1
    profiler.start("b")
    turned.now += 1
    profiler.stop("a")
    turned.now += 1
    profiler.stop("b")

    assert profiler.totals == {"a": Total(1, 2.0), "b": Total(1, 2.0)}


def test_memory_does_not_grow_with_the_run(turned: Clock) -> None:
    profiler = SimpleProfiler(clock=turned)
    for _ in range(1000):
        with profiler.profile("step"):
            turned.now += 0.25

    assert profiler.totals == {"step": Total(1000, 250.0)}


def test_a_run_is_timed_by_name(
    make_trainer: Any, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(profiler="simple", max_epochs=2, feed=IterableFeed())
    trainer.fit(scripted(val_loss=[1.0]), [0, 1, 2], [0])
    totals = trainer.profiler.totals

    assert {action: total.calls for action, total in totals.items() if total.calls > 1} == {
        "[Feed]IterableFeed.train_dataloader_next": 6,
        "[Feed]IterableFeed.val_dataloader_next": 2,
        "[Backend]DuckBackend.place": 8,
        "[Backend]DuckBackend.zero_grad": 6,
        "[Backend]DuckBackend.backward": 6,
        "[Backend]DuckBackend.step": 6,
        "[Module]Scripted.training_step": 6,
        "[Module]Scripted.validation_step": 2,
        "run_training_batch": 6,
    } | {a: t.calls for a, t in totals.items() if a.endswith(".read")}
    assert capsys.readouterr().out == f"{trainer.profiler.summary()}\n"
    assert trainer.profiler.summary().startswith("FIT Profiler Report\n")


def test_a_run_that_fails_shows_what_there_is(
    make_trainer: Any, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(batch: Any, batch_idx: int) -> None:
        raise ZeroDivisionError

    model = scripted()
    model.training_step = fail
    with pytest.raises(ZeroDivisionError):
        make_trainer(profiler="simple").fit(model, [0])

    assert " run_training_batch " in capsys.readouterr().out
