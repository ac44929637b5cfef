"""Supervision: what the launcher does while its ranks run."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import final

from lt_accel.board import Board, Column, State
from lt_accel.ranks import STOPPED
from lt_accel.watchdog import GRACE as WATCHDOG_GRACE

GRACE = 8.0
"""Seconds that ranks have to end by themselves after one of them has failed."""

PERIOD = 0.2
"""Seconds between two looks."""


@final
class Supervisor:
    """Hands signals on to the ranks, and kills those that outlive a failure.

    Torch's launcher asks survivors to end, and waits; one that catches SIGTERM to stop at a safe
    point, and waits in a collective for a rank that is gone, would never get there.
    """

    def __init__(self, board: Board, folder: Path, *, hang_timeout: float | None) -> None:
        """Prepare to look after the ranks of a board."""
        self._board, self._folder = board, folder
        self._hang_timeout = hang_timeout
        self._over = threading.Event()
        self._asked: list[signal.Signals] = []
        self._told: dict[int, int] = {}  # how many of those each process has been sent
        self._failed_at: float | None = None
        self._thread = threading.Thread(target=self._look, name="lt-supervisor", daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def hand_on(self, number: signal.Signals) -> int:
        """Send a signal to all ranks, also to those that are not there yet.

        Returns:
            How many were handed on so far.
        """
        (self._folder / STOPPED).touch()
        self._asked.append(number)
        return len(self._asked)

    def _look(self) -> None:
        while not self._over.wait(PERIOD):
            for row in self._rows(State.RUNNING):
                self._tell(self._board.get(row, Column.PID))
            self._end_stopped()
            self._end_survivors()

    def _end_stopped(self) -> None:
        """Kill a rank whose own watchdog does not run either: one that is stopped, or swapped out.

        The watchdog of a rank acts sooner, and says where it hangs.
        """
        if self._hang_timeout is None:
            return
        limit = self._hang_timeout + GRACE + WATCHDOG_GRACE
        for row in self._rows(State.RUNNING):
            age = (time.monotonic_ns() - self._board.get(row, Column.BEAT)) / 1e9
            if self._board.get(row, Column.WATCHED) and age > limit:
                attempt = self._board.get(row, Column.ATTEMPT)
                stack = self._folder / f"stack-{attempt}-{row}"
                stack.write_text("(none to be had: the process was stopped)")
                _send(self._board.get(row, Column.PID), signal.SIGKILL)

    def _rows(self, *states: State) -> list[int]:
        return [r for r in range(self._board.ranks) if self._board.get(r, Column.STATE) in states]

    def _tell(self, pid: int) -> None:
        for number in self._asked[self._told.get(pid, 0) :]:
            _send(pid, number)
            self._told[pid] = self._told.get(pid, 0) + 1

    def _end_survivors(self) -> None:
        """Kill what still runs some seconds after a rank of the same attempt has failed."""
        running = self._rows(State.RUNNING)
        dead = [row for row in running if not _lives(self._board.get(row, Column.PID))]
        attempts = {
            self._board.get(row, Column.ATTEMPT) for row in (*self._rows(State.FAILED), *dead)
        }
        survivors = [
            row
            for row in running
            if row not in dead and self._board.get(row, Column.ATTEMPT) in attempts
        ]
        if not survivors:
            self._failed_at = None
        elif self._failed_at is None:
            self._failed_at = time.monotonic()
        elif time.monotonic() - self._failed_at > GRACE:
            for row in survivors:
                _send(self._board.get(row, Column.PID), signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it just ended
        os.kill(pid, number)


def _lives(pid: int) -> bool:
    """Return whether a child runs; one that ended stays in the system's table until it is asked."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        try:
            os.kill(pid, 0)  # a system without /proc
        except ProcessLookupError:
            return False
        return True
    except ProcessLookupError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


@contextlib.contextmanager
def handing_on_signals(supervisor: Supervisor) -> Iterator[None]:
    """Let SIGTERM and SIGINT mean the ranks; the third one ends this process as usual.

    In the main thread only: Python lets no other one set an answer to a signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in handled}

    def hand_on(number: int, frame: FrameType | None) -> None:
        if supervisor.hand_on(signal.Signals(number)) > 2:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)

    for number in handled:
        signal.signal(number, hand_on)
    try:
        yield
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)
