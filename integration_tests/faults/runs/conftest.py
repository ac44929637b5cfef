"""Whole runs to do harm to: scripts in processes of their own, forked from one that is warm."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole: a part of the whole form, for --whole-faults")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("whole") and not item.config.getoption("--whole-faults", False):
        pytest.skip("a part of the whole form: --whole-faults")


WARM = Path(__file__).parents[1] / "programs" / "warm.py"


class Script:
    """A script in a process of its own.

    Attributes:
        folder: its working folder, where its output is.
        pid: its process, which leads a session.
    """

    def __init__(self, server: "subprocess.Popen[str]", folder: Path, words: Any) -> None:
        """Start it."""
        folder.mkdir()
        self.folder, self._place = folder, os.path.realpath(folder)
        assert server.stdin is not None
        server.stdin.write(json.dumps({"folder": str(folder), **words}) + "\n")
        server.stdin.flush()
        self._until(lambda: (folder / "pid").exists() or server.poll(), "start", 60)
        self.pid = int((folder / "pid").read_text())

    def wait(self, seconds: float = 90) -> int:
        """Return the exit code: minus the signal where one ended it."""
        self._until((self.folder / "exit").exists, "end", seconds)
        return int((self.folder / "exit").read_text())

    def send(self, number: int) -> None:
        """Send a signal to it."""
        os.kill(self.pid, number)

    def kill(self) -> int:
        """End it at once, if it has not ended; return the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        return self.wait(30)

    def wait_for(self, line: str, seconds: float = 60, *, may_end: bool = False) -> None:
        """Wait until it has written down that it is somewhere."""

        def there() -> bool:
            ended = (self.folder / "exit").exists()
            if any(one.startswith(line) for one in self.notes):
                return True
            assert may_end or not ended, self.told()
            return ended

        self._until(there, f"come to {line!r}", seconds)

    def wait_for_error(self, text: str, seconds: float = 60) -> None:
        """Wait until there is something on its standard error."""
        self._until(lambda: text in self.errors, f"write {text!r}", seconds)

    @property
    def notes(self) -> list[str]:
        """What it has written down."""
        place = self.folder / "notes"
        return place.read_text().splitlines() if place.exists() else []

    @property
    def output(self) -> str:
        """What it wrote to its standard output."""
        place = self.folder / "out"
        return place.read_text() if place.exists() else ""

    @property
    def errors(self) -> str:
        """What it wrote to its standard error."""
        place = self.folder / "err"
        return place.read_text() if place.exists() else ""

    def told(self) -> str:
        """Return all there is to say about it."""
        notes = "\n".join(self.notes)
        return f"notes:\n{notes}\noutput:\n{self.output}\n{self.errors}"

    @property
    def weights(self) -> dict[str, Any]:
        """The weights it ended with."""
        found: dict[str, Any] = torch.load(self.folder / "weights.pt")
        return found

    def family(self) -> list[int]:
        """Return its processes that live: itself, its ranks, its workers.

        They are known by their working folder, as each rank leads a session of its own.
        """
        found = []
        for entry in os.scandir("/proc"):
            with contextlib.suppress(OSError):  # not a process, or one that has ended
                if entry.name.isdigit() and os.readlink(f"{entry.path}/cwd") == self._place:
                    found.append(int(entry.name))
        return found

    def wait_for_family(self, size: int, seconds: float = 30) -> None:
        """Wait until it has started as many processes, itself counted."""
        self._until(lambda: len(self.family()) >= size, f"have {size} processes", seconds)

    def wait_until_alone(self, seconds: float = 30) -> None:
        """Wait until none of its processes is left."""
        self._until(lambda: not self.family(), "leave no process behind", seconds)

    def _until(self, there: Callable[[], Any], what: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < until, f"the script does not {what}: {self.told()}"
            time.sleep(0.003)


@pytest.fixture(scope="session")
def warm() -> Iterator["subprocess.Popen[str]"]:
    """A process that has imported everything."""
    command = [sys.executable, str(WARM)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@contextlib.contextmanager
def starting(server: "subprocess.Popen[str]", folder: Path) -> Iterator[Callable[..., Script]]:
    """Start scripts, each in a folder of its own; all of them end in the end."""
    started: list[Script] = []

    def start(program: str, *arguments: str, module: bool = False, **given: Any) -> Script:
        words = {"module" if module else "program": program, "arguments": arguments, "given": given}
        started.append(Script(server, folder / f"script-{len(started)}", words))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            for pid in one.family():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def script(warm: "subprocess.Popen[str]", tmp_path: Path) -> Iterator[Callable[..., Script]]:
    """Starts a program, or a module with arguments, as a script. It ends with the test."""
    with starting(warm, tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def script_of_module(
    warm: "subprocess.Popen[str]", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Script]]:
    """Starts scripts that all tests of a module look at."""
    with starting(warm, tmp_path_factory.mktemp("scripts")) as start:
        yield start


@pytest.fixture
def rows() -> Callable[[Path], list[list[str]]]:
    """Reads the log of a run."""

    def read(root: Path) -> list[list[str]]:
        with (root / "logs" / "version_0" / "metrics.csv").open(newline="") as file:
            return list(csv.reader(file))

    return read


@pytest.fixture
def assert_same() -> Callable[[Script, Script], None]:
    """Holds the weights of two runs together, bit by bit."""

    def check(one: Script, other: Script) -> None:
        ours, theirs = one.weights, other.weights
        assert ours.keys() == theirs.keys()
        differing = [name for name in ours if not torch.equal(ours[name], theirs[name])]
        assert not differing

    return check
