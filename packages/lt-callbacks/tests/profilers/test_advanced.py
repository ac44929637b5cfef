"""AdvancedProfiler says which functions an action calls."""

import pstats
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lt_callbacks.profilers import AdvancedProfiler


def inner() -> None:
    pass


def outer(action: Callable[[], Any]) -> None:
    action()


def section(report: str, action: str) -> str:
    """The part of a report that is about one action."""
    (found,) = [part for part in report.split("Profile stats for: ")[1:] if part.startswith(action)]
    return found


def calls(report: str, action: str, name: str) -> int:
    """How often a function of this file was called in an action."""
    lines = [line for line in section(report, action).splitlines() if line.endswith(f"({name})")]
    return int(lines[0].split()[0]) if lines else 0


def test_functions_are_reported_by_action() -> None:
    profiler = AdvancedProfiler()
    for _ in range(3):
        with profiler.profile("first"):
            inner()
    with profiler.profile("second"):
        outer(inner)
    report = profiler.summary()

    assert report.startswith("Profiler Report\n\nProfile stats for: first\n")
    assert (calls(report, "first", "inner"), calls(report, "first", "outer")) == (3, 0)
    assert (calls(report, "second", "inner"), calls(report, "second", "outer")) == (1, 1)


def test_an_action_goes_on_after_the_one_inside_it() -> None:
    profiler = AdvancedProfiler()
    with profiler.profile("around"):
        outer(inner)
        with profiler.profile("inside"):
            inner()
        outer(inner)
    report = profiler.summary()

    assert (calls(report, "around", "outer"), calls(report, "around", "inner")) == (2, 2)
    assert (calls(report, "inside", "outer"), calls(report, "inside", "inner")) == (0, 1)


def test_a_report_on_the_way_disturbs_nothing() -> None:
    profiler = AdvancedProfiler()
    with profiler.profile("an action"):
        inner()
        assert calls(profiler.summary(), "an action", "inner") == 1
        inner()

    assert calls(profiler.summary(), "an action", "inner") == 2


@pytest.mark.parametrize(("restriction", "most"), [(1, 1), (2, 2), (1.0, 99)])
def test_a_report_names_as_many_functions_as_asked_for(restriction: float, most: int) -> None:
    profiler = AdvancedProfiler(line_count_restriction=restriction)
    with profiler.profile("an action"):
        outer(inner)
        sorted([1])
    body = section(profiler.summary(), "an action").partition("filename:lineno(function)\n")[2]

    assert 0 < len(body.strip().splitlines()) <= most


@pytest.mark.parametrize("restriction", [0, -1, 0.0, 1.5])
def test_a_restriction_is_a_number_or_a_share(restriction: float) -> None:
    with pytest.raises(ValueError, match=rf"Received line_count_restriction={restriction!r}\.$"):
        AdvancedProfiler(line_count_restriction=restriction)


def test_an_action_is_begun_once_and_ended_once() -> None:
    profiler = AdvancedProfiler()
    with pytest.raises(ValueError, match=r"Received stop\('a'\) without its start\.$"):
        profiler.stop("a")
    with profiler.profile("a"):
        with pytest.raises(ValueError, match=r"Received start\('a'\) twice\. Use two names\.$"):
            profiler.start("a")
        inner()
    with pytest.raises(ValueError, match=r"Received stop\('a'\) without its start\.$"):
        profiler.stop("a")

    assert calls(profiler.summary(), "a", "inner") == 1


def test_nothing_recorded_is_no_report() -> None:
    assert AdvancedProfiler().summary() == ""


def test_a_run_is_recorded_by_name(
    make_trainer: Any, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(profiler="advanced", max_epochs=1)
    trainer.fit(scripted(train_loss=[1.0]), [0, 1])
    report = capsys.readouterr().out

    assert calls(report, "[Module]Scripted.training_step", "training_step") == 2
    assert calls(report, "[Module]Scripted.training_step", "_log") == 2
    assert calls(report, "[Backend]DuckBackend.backward", "backward") == 2
    assert trainer.profiler.summary() == report.removesuffix("\n")


def test_records_may_be_written_for_other_tools(
    tmp_path: Path, make_trainer: Any, scripted: Any
) -> None:
    profiler = AdvancedProfiler(tmp_path / "new", "perf", dump_stats=True)
    make_trainer(profiler=profiler, max_epochs=1).fit(scripted(), [0, 1])
    files = {path.name for path in (tmp_path / "new").glob("*.prof")}

    assert files == {f"fit-perf-0-{action}.prof" for action in profiler.profiled_actions}
    stats: Any = pstats.Stats(str(tmp_path / "new/fit-perf-0-[Module]Scripted.training_step.prof"))
    (key,) = [key for key in stats.stats if key[2] == "training_step"]
    assert stats.stats[key][0] == 2


def test_without_a_folder_records_can_not_be_written() -> None:
    profiler = AdvancedProfiler(dump_stats=True)
    with profiler.profile("an action"):
        inner()
    with pytest.raises(ValueError, match=r"^dump_stats=True writes files\. .* Pass dirpath=\.\.\."):
        profiler.describe()


def test_each_run_has_a_record_of_its_own(make_trainer: Any, scripted: Any) -> None:
    profiler = AdvancedProfiler()
    trainer = make_trainer(profiler=profiler, max_epochs=1)
    for _ in range(2):
        trainer.fit(scripted(), [0, 1])

    assert calls(profiler.summary(), "[Module]Scripted.training_step", "training_step") == 2
