"""Two runs in one folder, a folder that can't be written, and a clock that was set back."""

import datetime
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lt_checkpoint import FolderInUseError, FolderStore, SaveError, load, save
from lt_checkpoint import folder as folders


@pytest.mark.slow
def test_a_second_run_is_refused_until_the_first_has_ended(
    tmp_path: Path, child: Callable[..., Any]
) -> None:
    folder = tmp_path / "run"
    one = child("hold", folder=str(folder), note=str(tmp_path / "note"))
    one.wait_for(tmp_path / "note")
    before = sorted(os.listdir(folder))
    for attempt in (
        lambda: FolderStore(folder).claim(),
        lambda: FolderStore(folder).save({"global_step": 2}, "theirs.ckpt"),
        lambda: save({"global_step": 2}, folder / "other.ckpt"),
        lambda: FolderStore(folder).remove("theirs.ckpt"),
    ):
        with pytest.raises(FolderInUseError, match=f"in use by process {one.process.pid}"):
            attempt()
    assert sorted(os.listdir(folder)) == before
    assert FolderStore(folder).load("last")["global_step"] == 1, "reading is free"
    note = tmp_path / "train"
    given = {"folder": str(folder), "words": {}, "steps": 3, "note": str(note), "do": {}}
    assert child("train", **given).wait() == 1
    assert not note.exists(), "refused before the first step"
    one.kill()
    store = FolderStore(folder)
    store.save({"global_step": 2}, "ours.ckpt")
    assert store.list() == ["theirs.ckpt", "ours.ckpt"]
    store.close()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder of a file system that was mounted for reading; permissions do not stop root."""
    place = tmp_path / "read_only"
    place.mkdir()
    save({"global_step": 1}, place / "a.ckpt")
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


def test_a_folder_for_reading(read_only: Path) -> None:
    store = FolderStore(read_only)
    with pytest.raises(SaveError, match=r"read_only.*Read-only file system"):
        store.claim()
    with pytest.raises(SaveError, match="Read-only file system"):
        save({"global_step": 2}, read_only / "b.ckpt")
    with pytest.raises((SaveError, OSError), match="Read-only file system"):
        store.remove("a.ckpt")
    assert load(read_only / "a.ckpt")["global_step"] == 1
    assert store.load("last")["global_step"] == 1


def test_a_clock_that_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Back(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime(1999, 1, 1, tzinfo=tz)

    store = FolderStore(tmp_path)
    store.save({"global_step": 1}, "1.ckpt")
    monkeypatch.setattr(folders.datetime, "datetime", Back)
    store.save({"global_step": 2}, "2.ckpt")
    store.save({"global_step": 2, "again": True}, "0.ckpt")
    for path in (tmp_path / "2.ckpt", tmp_path / "0.ckpt"):
        os.utime(path, (0, 0))
    assert store.manifest("0.ckpt").saved_at.startswith("1999")
    assert store.list() == ["1.ckpt", "2.ckpt", "0.ckpt"]
    assert store.load("last")["again"]
