import json
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lt_checkpoint import FolderInUseError
from lt_checkpoint.lock import FolderLock
from lt_checkpoint.owner import Owner, this_process
from lt_checkpoint.places import Hidden, hidden, read_hidden


def locked_by(folder: Path, **words: Any) -> None:
    me = this_process()
    holder = {"host": me.host, "boot": me.boot, "pid": me.pid, "started": me.started} | words
    (folder / ".lock").write_text(json.dumps(holder, sort_keys=True))


def dead_pid() -> int:
    child = multiprocessing.get_context("spawn").Process(target=int)
    child.start()
    child.join(30)
    assert child.pid is not None
    return child.pid


def test_it_names_its_owner_and_is_given_back(tmp_path: Path) -> None:
    lock = FolderLock(str(tmp_path))
    lock.acquire()
    lock.acquire()
    FolderLock(str(tmp_path)).acquire()  # the same process
    assert os.listdir(tmp_path) == [".lock"]
    words = json.loads((tmp_path / ".lock").read_text())
    assert (words["host"], words["pid"]) == (socket.gethostname(), os.getpid())
    lock.release()
    lock.release()
    assert os.listdir(tmp_path) == []


def test_a_dead_owner_is_taken_over(tmp_path: Path) -> None:
    locked_by(tmp_path, pid=dead_pid())
    FolderLock(str(tmp_path)).acquire()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path) == [".lock"]


def test_a_number_that_was_given_to_another_process_is_a_dead_owner(tmp_path: Path) -> None:
    locked_by(tmp_path, pid=1, started=this_process().started + 1)
    FolderLock(str(tmp_path)).acquire()


def test_an_owner_of_an_earlier_boot_is_dead(tmp_path: Path) -> None:
    locked_by(tmp_path, boot="earlier", pid=1)
    FolderLock(str(tmp_path)).acquire()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', "\x00" * 100])
def test_a_lock_that_a_crash_left_half_written_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    FolderLock(str(tmp_path)).acquire()


def test_a_live_owner_is_named(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=FolderLock(str(tmp_path)).acquire)
    child.start()
    child.join(30)  # it ended without giving it back, but is our child: take a living one instead
    parent = Owner(socket.gethostname(), this_process().boot, os.getppid(), 0)
    assert parent.pid != os.getpid()
    from lt_checkpoint.owner import _started

    locked_by(tmp_path, pid=1, started=_started(1))
    if os.getppid() == 1:
        pytest.skip("the only other process known to live is our parent, which may share")
    with pytest.raises(FolderInUseError, match=r"in use by process 1 on .*\.lock"):
        FolderLock(str(tmp_path)).acquire()
    FolderLock(str(tmp_path)).release()  # it is not ours
    assert (tmp_path / ".lock").exists()


def test_another_machine_is_never_known_to_be_dead(tmp_path: Path) -> None:
    locked_by(tmp_path, host="elsewhere")
    with pytest.raises(FolderInUseError, match="elsewhere"):
        FolderLock(str(tmp_path)).acquire()
    FolderLock(str(tmp_path), take_over=True).acquire()


def test_a_forked_process_shares_it(tmp_path: Path) -> None:
    FolderLock(str(tmp_path)).acquire()
    child = multiprocessing.get_context("fork").Process(target=FolderLock(str(tmp_path)).acquire)
    child.start()
    child.join(30)
    assert child.exitcode == 0


RACE = """
import sys
from lt_checkpoint import FolderInUseError
from lt_checkpoint.lock import FolderLock
print("ready", flush=True)
sys.stdin.readline()
try:
    FolderLock(sys.argv[1]).acquire()
except FolderInUseError:
    print("refused", flush=True)
else:
    print("held", flush=True)
sys.stdin.readline()  # alive until all have tried
"""


@pytest.mark.slow
def test_of_several_that_take_over_at_once_one_gets_it(tmp_path: Path) -> None:
    locked_by(tmp_path, pid=dead_pid())
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", RACE, str(tmp_path)], **pipes)
        for _ in range(3)
    ]
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        found = sorted(racer.stdout.readline().strip() for racer in racers)
        assert found == ["held", "refused", "refused"]
        assert os.listdir(tmp_path) == [".lock"]
    finally:
        for racer in racers:
            racer.communicate("end\n", timeout=30)


def test_hidden_names_are_read_back() -> None:
    name = hidden("stage", "epoch=1-step=2.ckpt")
    found = read_hidden(name)
    assert found is not None
    assert (found.kind, found.name) == ("stage", "epoch=1-step=2.ckpt")
    assert not found.is_abandoned(locked=True)
    assert read_hidden(".lock") is None
    assert read_hidden(".stage-x") is None


def test_what_another_machine_left_is_abandoned_under_the_lock() -> None:
    mark = Owner("elsewhere", "b", 1, 1).mark
    assert Hidden("stage", mark, "a").is_abandoned(locked=True)
    assert not Hidden("stage", mark, "a").is_abandoned(locked=False)
    assert not Hidden("alone", mark, "a").is_abandoned(locked=True)


def test_what_a_dead_process_left_is_abandoned() -> None:
    me = this_process()
    for gone in (Owner(me.host, me.boot, dead_pid(), 1), Owner(me.host, "earlier", me.pid, 1)):
        assert Hidden("alone", gone.mark, "a").is_abandoned(locked=False)
