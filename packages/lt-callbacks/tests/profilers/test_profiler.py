"""What all profilers have in common: one record for each run, and where its report goes."""

import io
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, final

import pytest

from lt_callbacks import profilers
from lt_callbacks.profilers import Profiler
from lt_loop import Profiler as Port


@final
class Counting(Profiler):
    """Counts batches, steps and actions of user code, as somebody's own profiler might."""

    counted = 0

    def start(self, action_name: str) -> None:
        self.counted += action_name.endswith("_step") or "[" not in action_name

    def stop(self, action_name: str) -> None:
        pass

    def restart(self) -> None:
        self.counted = 0

    def summary(self) -> str:
        return self.titled(f"{self.counted} actions") if self.counted else ""


def test_the_names_are_there_and_fit_the_port() -> None:
    assert dir(profilers) == sorted(profilers.__all__)
    for name in profilers.__all__:
        assert getattr(profilers, name).__name__ == name
    assert isinstance(Counting(), Port)
    with pytest.raises(AttributeError, match=r"profilers has AdvancedProfiler, .* Received 'Ban"):
        _ = profilers.Banana


@pytest.mark.parametrize(
    "code",
    [
        "from lt_callbacks.profilers import SimpleProfiler; SimpleProfiler()",
        "from lt_callbacks.profilers import AdvancedProfiler; AdvancedProfiler()",
        "from lt_callbacks.profilers import PyTorchProfiler",
        "from lt_loop.discovery import find; find('lt.profilers', 'simple')()",
    ],
)
def test_torch_is_imported_by_nobody_who_does_not_need_it(code: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; {code}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "numpy" not in run.stdout.split()


def test_a_report_goes_to_standard_output(
    make_trainer: Any, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer(profiler=Counting(), max_epochs=1).fit(scripted(), [0, 1])

    assert capsys.readouterr() == ("FIT Profiler Report\n\n4 actions\n\n", "")


@pytest.mark.parametrize("rank", [None, 0, 1])
def test_of_several_processes_one_writes_there(
    rank: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    profiler = Counting()
    profiler.setup("fit", rank)
    profiler.start("an action")
    profiler.describe()

    assert bool(capsys.readouterr().out) is (rank != 1)


def test_a_report_may_go_to_a_file(
    tmp_path: Path,
    make_trainer: Any,
    scripted: Any,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "lt_callbacks")
    folder = tmp_path / "reports"
    trainer = make_trainer(profiler=Counting(folder, "perf"), max_epochs=1)
    for _ in range(2):
        trainer.fit(scripted(), [0, 1])
    trainer.test(scripted(), [0])

    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in folder.iterdir()) == ["fit-perf-0.txt", "test-perf-0.txt"]
    assert (folder / "fit-perf-0.txt").read_text() == 2 * "FIT Profiler Report\n\n4 actions\n\n"
    assert [record.message for record in caplog.records] == [
        f"Counting report written to {folder / name}-perf-0.txt" for name in ("fit", "fit", "test")
    ]


def test_without_a_folder_it_is_that_of_the_logger(
    tmp_path: Path, make_trainer: Any, scripted: Any
) -> None:
    trainer = make_trainer(
        profiler=Counting(filename="perf"), max_epochs=1, default_root_dir=tmp_path
    )
    trainer.fit(scripted(), [0])

    assert [path.name for path in tmp_path.iterdir()] == ["fit-perf-0.txt"]


def test_without_any_folder_a_report_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    profiler = Counting(filename="perf")
    with profiler.profile("an action") as name:
        assert name == "an action"
    profiler.describe()

    assert capsys.readouterr().out == "Profiler Report\n\n1 actions\n\n"


def test_nothing_is_said_where_nothing_was_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Counting(tmp_path, "perf").describe()
    Counting().describe()

    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_standard_output_may_be_absent_or_poor(monkeypatch: pytest.MonkeyPatch) -> None:
    profiler = Counting()
    profiler.setup("größe")  # no stage, but a letter that ASCII has not
    profiler.start("an action")
    poor = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    monkeypatch.setattr(sys, "stdout", poor)
    profiler.describe()
    poor.seek(0)
    assert poor.read().startswith("GR\\xd6SSE Profiler Report\n")

    monkeypatch.setattr(sys, "stdout", None)
    profiler.describe()


def test_each_run_has_a_record_of_its_own(make_trainer: Any, scripted: Any) -> None:
    profiler = Counting()
    with profiler.profile("before the first run"):
        pass
    trainer = make_trainer(profiler=profiler, max_epochs=1)
    trainer.fit(scripted(), [0, 1])
    assert profiler.summary() == "FIT Profiler Report\n\n5 actions\n"

    trainer.fit(scripted(), [0, 1])
    assert profiler.summary() == "FIT Profiler Report\n\n4 actions\n"


def test_two_runs_at_once_are_refused(make_trainer: Any, scripted: Any) -> None:
    profiler = Counting()
    for _ in make_trainer(profiler=profiler, max_epochs=1).steps(scripted(), [0, 1]):
        with pytest.raises(
            RuntimeError,
            match=r"^A profiler records one run at a time\. Received the beginning of validate "
            r"while fit is under way\. Give each trainer a profiler of its own\.$",
        ):
            make_trainer(profiler=profiler).validate(scripted(), [0])

    make_trainer(profiler=profiler).validate(scripted(), [0])


def test_a_block_that_fails_ends_its_action(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []
    profiler = Counting()
    monkeypatch.setattr(profiler, "stop", stopped.append)

    with pytest.raises(ZeroDivisionError), profiler.profile("an action"):
        raise ZeroDivisionError

    assert stopped == ["an action"]


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("", "fit-perf-0.prof"),
        ("[Module]Net.training_step", "fit-perf-0-[Module]Net.training_step.prof"),
        ("[Callback]Stop{'mode': 'min'}.a/b", "fit-perf-0-[Callback]Stop_mode_min_.a_b.prof"),
    ],
)
def test_files_have_names_that_any_disk_takes(action: str, name: str) -> None:
    profiler = Counting(filename="perf")
    profiler.setup("fit", 0)

    assert profiler.name_of_file(".prof", action) == name
    assert Counting().name_of_file(".txt") == "profile.txt"
