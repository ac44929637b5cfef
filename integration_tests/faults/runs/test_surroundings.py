"""What surrounds a run goes wrong: its clock, its folder, its disk, the process that started it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lt_checkpoint import FolderStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def whole(script_of_module: Callable[..., Any], tmp_path_factory: Any) -> Any:
    one = script_of_module("fit", root=str(tmp_path_factory.mktemp("whole")))
    assert one.wait() == 0, one.told()
    return one


def test_a_clock_that_was_set_back(
    whole: Any,
    tmp_path: Path,
    script: Callable[..., Any],
    assert_same: Callable[[Any, Any], None],
) -> None:
    words = {"root": str(tmp_path), "saving": {"save_top_k": -1}}
    one = script("fit", harm={"on_train_batch_end 4": "SIGKILL"}, **words)
    assert one.wait() == -9, one.told()
    two = script("clock", harm={"on_train_batch_end 7": "SIGKILL"}, seed=100, **words)
    assert two.wait() == -9, two.told()
    folder = tmp_path / "checkpoints"
    assert "start 3" in two.notes
    assert FolderStore(folder).manifest("step=6.ckpt").saved_at.startswith("1999")
    assert (folder / "step=6.ckpt").stat().st_mtime < (folder / "step=3.ckpt").stat().st_mtime
    again = script("fit", seed=101, **words)
    assert again.wait() == 0, again.told()
    assert "start 6" in again.notes
    assert_same(again, whole)


def test_a_second_run_in_the_folder_harms_nobody(
    whole: Any,
    tmp_path: Path,
    script: Callable[..., Any],
    assert_same: Callable[[Any, Any], None],
) -> None:
    one = script("fit", root=str(tmp_path), harm={"on_train_batch_start 2": "slow"})
    one.wait_for("at on_train_batch_start 2")
    other = script("fit", root=str(tmp_path), seed=100)
    assert other.wait() == 1
    assert f"in use by process {one.pid}" in other.errors
    assert not any(note.startswith("start ") for note in other.notes), "before the first step"
    assert one.wait() == 0, one.told()
    assert_same(one, whole)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder of a file system that was mounted for reading; permissions do not stop root."""
    place = tmp_path / "read_only"
    (place / "checkpoints").mkdir(parents=True)
    try:
        for words in (["--bind", str(place), str(place)], ["-o", "remount,ro,bind", str(place)]):
            done = subprocess.run(
                ["mount", *words], capture_output=True, text=True, check=False, timeout=20
            )
            if done.returncode:
                pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=False, capture_output=True, timeout=20)


def test_a_folder_for_reading(read_only: Path, script: Callable[..., Any]) -> None:
    one = script("fit", root=str(read_only))
    assert one.wait() == 1
    assert "SaveError" in one.errors
    assert "Read-only file system" in one.errors
    assert not any(note.startswith("start ") for note in one.notes), "before the first step"


@pytest.mark.parametrize("asynchronous", [pytest.param(False, marks=pytest.mark.whole), True])
def test_a_save_that_hangs_ends_with_the_grace(
    asynchronous: bool,
    whole: Any,
    tmp_path: Path,
    script: Callable[..., Any],
    assert_same: Callable[[Any, Any], None],
) -> None:
    """Nothing but a signal ends it; the checkpoint before it is there."""
    words = {"root": str(tmp_path), "saving": {"asynchronous": asynchronous}}
    one = script("slow_save", hangs_at=3, preemption={"grace_seconds": 2}, **words)
    one.wait_for("saving 3")
    one.send(signal.SIGTERM)
    assert one.wait(30) == 143, one.told()
    assert "in slowly" in one.errors, "where it hung is told"
    one.wait_until_alone()
    again = script("fit", seed=100, **words)
    assert again.wait() == 0, again.told()
    assert "start 2" in again.notes
    assert_same(again, whole)


@pytest.mark.parametrize("asynchronous", [pytest.param(False, marks=pytest.mark.whole), True])
@pytest.mark.parametrize("name", [pytest.param("SIGTERM", marks=pytest.mark.whole), "SIGINT"])
def test_or_by_a_second_signal(
    name: str, asynchronous: bool, tmp_path: Path, script: Callable[..., Any]
) -> None:
    words = {"root": str(tmp_path), "saving": {"asynchronous": asynchronous}}
    one = script("slow_save", hangs_at=3, **words)
    one.wait_for("saving 3")
    one.send(getattr(signal, name))
    one.wait_for_error("send it again to stop at once")
    one.send(getattr(signal, name))
    check_ended(one, name, tmp_path)


def check_ended(one: Any, name: str, root: Path) -> None:
    assert one.wait(20) == -getattr(signal, name), one.told()
    one.wait_until_alone()
    assert FolderStore(root / "checkpoints").load("last")["global_step"] == 2


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_one_waits_for_a_save_and_the_second_one_does_not(
    name: str, tmp_path: Path, script: Callable[..., Any]
) -> None:
    """The run has stopped at its safe point, and its teardown waits for what hangs."""
    words: dict[str, Any] = {"harm": {"on_train_batch_start 4": "slow"}, "root": str(tmp_path)}
    saving = {"asynchronous": True, "every_n_train_steps": 2}
    one = script("slow_save", hangs_at=4, saving=saving, **words)
    one.wait_for("at on_train_batch_start 4")
    one.send(getattr(signal, name))
    one.wait_for("exception ")
    time.sleep(0.5)
    assert not (one.folder / "exit").exists(), "a save on its way is waited for"
    one.send(getattr(signal, name))
    check_ended(one, name, tmp_path)


def test_a_second_ctrl_c_in_a_step_waits_for_no_save(
    tmp_path: Path, script: Callable[..., Any]
) -> None:
    """It ends the step, and the teardown that follows knows that nobody wants to wait."""
    words: dict[str, Any] = {"harm": {"on_train_batch_start 3": "hang"}, "root": str(tmp_path)}
    saving = {"asynchronous": True, "save_on_exception": True}
    one = script("slow_save", hangs_at=3, saving=saving, preemption={}, **words)
    one.wait_for("saving 3")
    one.wait_for("at on_train_batch_start 3")
    one.send(signal.SIGINT)
    one.wait_for_error("send it again to stop at once")
    one.send(signal.SIGINT)
    check_ended(one, "SIGINT", tmp_path)
    assert one.notes.count("teardown fit") == 1
    assert one.notes[-1] == "handlers as before"


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.whole), 2])
def test_what_it_started_ends_with_it(
    devices: int, tmp_path: Path, script: Callable[..., Any]
) -> None:
    """The process that a person started is killed: workers die, and ranks with theirs."""
    words: dict[str, Any] = {"workers": 2, "harm": {"on_train_batch_start 2": "hang"}}
    several = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto"}
    one = script("fit", root=str(tmp_path), trainer=several, **words)
    one.wait_for("at on_train_batch_start 2")
    one.wait_for_family(1 + 2 * devices + (devices if devices > 1 else 0))
    os.kill(one.pid, signal.SIGKILL)
    one.wait_until_alone()
    assert FolderStore(tmp_path / "checkpoints").load("last")["global_step"] == 2
