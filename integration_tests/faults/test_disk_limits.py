"""A disk that is full, and a limit on the size of files, in the midst of the second save."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import FolderStore, SaveError, verify
from lt_checkpoint.disk import LocalDisk
from lt_checkpoint.folder import Folder, Note
from lt_checkpoint.together import Alone


def run(child: Callable[..., Any], folder: Path, **words: Any) -> tuple[int, list[str]]:
    note = folder / "note"
    given = {"folder": str(folder / "run"), "note": str(note), "steps": 4}
    code = child("train", **given, **words).wait()
    return code, note.read_text().splitlines()


def whole(folder: Path) -> list[int]:
    store = FolderStore(folder / "run")
    for name in os.listdir(folder / "run"):
        if not name.startswith("."):
            verify(folder / "run" / name)
    return [int(store.load(name)["global_step"]) for name in store.list()]


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_ends_the_run(
    tmp_path: Path, child: Callable[..., Any]
) -> None:
    code, lines = run(child, tmp_path, words={}, do={1: "limit 2000"})
    assert code == 1
    assert lines == [f"saved {tmp_path / 'run' / 'step=1.ckpt'}"]
    assert whole(tmp_path) == [1]


@pytest.mark.slow
def test_so_it_does_where_saving_goes_on_beside(tmp_path: Path, child: Callable[..., Any]) -> None:
    code, lines = run(child, tmp_path, words={"asynchronous": True}, do={3: "limit 2000"})
    assert code == 1
    assert not any(line.startswith("ended") for line in lines)
    assert whole(tmp_path) in ([2], [3], [2, 3]), "that of step 3 was under way"


@pytest.mark.slow
def test_or_is_warned_of_as_asked(tmp_path: Path, child: Callable[..., Any]) -> None:
    words = {"on_save_error": "warn", "save_top_k": -1}
    code, lines = run(child, tmp_path, words=words, do={1: "limit 2000", 3: "unlimited"})
    assert code == 0
    assert whole(tmp_path) == [1, 4]
    assert lines[-1] == "ended at 4"
    assert not any("step=2" in line or "step=3" in line for line in lines)


@pytest.mark.slow
def test_the_signal_of_the_limit_kills_without_harm(
    tmp_path: Path, child: Callable[..., Any]
) -> None:
    code, lines = run(child, tmp_path, words={}, do={1: "limit 2000 default"})
    assert code == -signal.SIGXFSZ
    assert lines == [f"saved {tmp_path / 'run' / 'step=1.ckpt'}"]
    assert whole(tmp_path) == [1]
    code, lines = run(child, tmp_path, words={}, do={})
    assert (code, lines[-1]) == (0, "ended at 4")
    assert sorted(os.listdir(tmp_path / "run")) == ["step=4.ckpt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    with contextlib.ExitStack() as stack:
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False, timeout=20)
        except OSError as error:
            pytest.skip(f"no file system can be mounted here: {error}")
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        stack.callback(subprocess.run, ["umount", str(place)], check=False, timeout=20)
        yield place


def state(step: int, megabytes: float) -> dict[str, Any]:
    return {"global_step": step, "w": torch.zeros(int(megabytes * (1 << 18)))}


def test_a_disk_that_is_too_small_is_said_beforehand(small_disk: Path) -> None:
    store = FolderStore(small_disk)
    store.save(state(1, 4), "1.ckpt")
    with pytest.raises(SaveError, match=r"2.ckpt, which needs .* bytes where .* are free"):
        store.save(state(2, 4), "2.ckpt")
    assert os.listdir(small_disk) == ["1.ckpt"]
    assert store.load("last")["global_step"] == 1


class Optimist:
    """A disk that does not know how much room there is, as others fill it at the same time."""

    def __init__(self) -> None:
        self._disk = LocalDisk()

    def free(self, path: str) -> int | None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


def test_a_disk_that_becomes_full_while_saving_costs_nothing(small_disk: Path) -> None:
    folder = Folder(Optimist(), str(small_disk))
    folder.save(state(1, 4), "1.ckpt", note=Note(), world=Alone())
    for name in ("2.ckpt", "1.ckpt"):
        with pytest.raises(SaveError, match="No space left"):
            folder.save(state(2, 5), name, note=Note(), world=Alone())
        assert os.listdir(small_disk) == ["1.ckpt"]
    verify(small_disk / "1.ckpt")
    folder.save(state(3, 2), "3.ckpt", note=Note(), world=Alone())
    assert FolderStore(small_disk).load("last")["global_step"] == 3
