"""Children to do harm to, forked from a server that has torch imported: they start fast."""

import multiprocessing
import os
import random
import runpy
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "programs"

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["torch._dynamo", "lt_loop.trainer", "lt_checkpoint"])


class Child:
    """A process that runs one of the programs. It ends with the test, whatever happens."""

    def __init__(self, program: str, **words: Any) -> None:
        """Start it; it finds ``words`` as its global ``given``."""
        self.process = server.Process(
            target=runpy.run_path,
            args=(str(PROGRAMS / f"{program}.py"), {"given": words}, "__main__"),
            daemon=True,
        )
        self.process.start()

    def wait(self, seconds: float = 60) -> int:
        """Return the exit code: minus the signal where one ended it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the child hangs"
        return self.process.exitcode

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.is_alive():
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(30)

    def wait_for(self, path: Path, seconds: float = 60) -> None:
        """Wait until the child has made a file."""
        until = time.monotonic() + seconds
        while not path.exists():
            assert self.process.is_alive(), f"the child ended with {self.process.exitcode}"
            assert time.monotonic() < until, f"the child does not make {path}"
            time.sleep(0.002)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Starts a program in a process of its own."""
    started: list[Child] = []

    def start(program: str, **words: Any) -> Child:
        started.append(Child(program, **words))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def instants(pytestconfig: pytest.Config) -> Callable[[int, int], range]:
    """How often a fault is tried: the short form, or the whole one with ``--whole-faults``."""

    def choose(short: int, whole: int) -> range:
        return range(whole if pytestconfig.getoption("--whole-faults", False) else short)

    return choose


@pytest.fixture
def chance() -> random.Random:
    """Numbers that look random and are the same in every run."""
    return random.Random(20260701)
