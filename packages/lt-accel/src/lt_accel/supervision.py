"""Supervision: what the launcher does while its ranks run."""

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, final

from lt_accel.board import Board, Column, State
from lt_accel.hanging import Silent, to_blame
from lt_accel.ranks import STACK_SIGNAL, STOPPED, signals_heard
from lt_accel.watchdog import GRACE as WATCHDOG_GRACE

GRACE = 8.0
"""Seconds that ranks have to end by themselves after one of them has failed."""

PERIOD = 0.2
"""Seconds between two looks."""

MARGIN = 2.0
"""Seconds between the launcher's look at silent ranks and what a rank's own watchdog does."""


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
        self._asked: list[tuple[signal.Signals, float]] = []  # and when
        self._told: dict[int, list[signal.Signals]] = {}  # by process, what it has been sent
        self._failed_at: float | None = None
        self._dead = 0
        self._launching = threading.get_ident()
        self.vanished: dict[int, tuple[int, int | None]] = {}  # by attempt: which row first, how
        self.ended: set[tuple[int, int]] = set()  # attempts and rows that were killed here
        self.hung: dict[int, tuple[float, list[Silent]]] = {}  # by attempt: when, and all by row
        self._thread = threading.Thread(target=self._look, name="lt-supervisor", daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        """End; what ranks that were killed had started themselves ends too."""
        self._over.set()
        with contextlib.suppress(VanishedError):  # too late: torch's launcher has noticed
            self._thread.join()
        for row in self._rows(State.RUNNING):
            _send_to_group(self._board.get(row, Column.PID), signal.SIGKILL)

    def hand_on(self, number: signal.Signals) -> int:
        """Send a signal to all ranks, also to those that are not there yet.

        Returns:
            How many that mean the end were handed on so far.
        """
        (self._folder / STOPPED).touch()
        self._asked.append((number, time.monotonic()))
        return sum(one in ENDING for one, _ in self._asked)

    @property
    def asked(self) -> set[signal.Signals]:
        """Which signals were handed on."""
        return {number for number, _ in self._asked}

    def end_all(self) -> None:
        """Kill all ranks at once."""
        for row in self._rows(State.RUNNING, State.LEAVING):
            self._kill(row)

    def _look(self) -> None:
        while not self._over.wait(PERIOD):
            for row in self._rows(State.RUNNING):
                self._tell(row)
            self._end_hanging()
            self._end_survivors()
            if self._all_gone():
                return

    def _end_hanging(self) -> None:
        """Look at all ranks when the time of one is up, and end those that the others wait for.

        A rank that waits for another one gets more time than that one. Where ranks can't be asked
        for their stacks, their own watchdogs go first, which write them down.
        """
        limit = self._hang_timeout
        if limit is None:
            return
        margin = MARGIN if STACK_SIGNAL is None else 0.0
        late = []
        for row in self._rows(State.RUNNING):
            waits = WATCHDOG_GRACE if self._board.get(row, Column.INSIDE) else 0.0
            if self._board.get(row, Column.WATCHED) and self._age(row) > limit + waits + margin:
                late.append(row)
        for attempt in {self._board.get(row, Column.ATTEMPT) for row in late} - set(self.hung):
            rows = self._rows(State.RUNNING)
            rows = [row for row in rows if self._board.get(row, Column.ATTEMPT) == attempt]
            seen = self._looked_at(rows, attempt)
            self.hung[attempt] = time.time(), seen
            blamed = [one.rank for one in to_blame(seen, limit)]
            for row in blamed or set(late) & set(rows):
                self._kill(row)

    def _age(self, row: int) -> float:
        if self._board.get(row, Column.BUSY):
            return 0.0  # somebody else watches
        return (time.monotonic_ns() - self._board.get(row, Column.BEAT)) / 1e9

    def _looked_at(self, rows: list[int], attempt: int) -> list[Silent]:
        """Let ranks write their stacks down, from below Python; their numbers are the rows'."""
        looks = [(row, self._age(row), bool(self._board.get(row, Column.INSIDE))) for row in rows]
        if STACK_SIGNAL is not None:
            for row in rows:
                _send(self._board.get(row, Column.PID), STACK_SIGNAL)
            time.sleep(MARGIN / 4)
        found = []
        for row, age, inside in looks:
            path = self._folder / f"stack-{attempt}-{row}"
            stack = path.read_text() if path.exists() else ""
            stack = stack or "(none to be had: the process is stopped)"
            found.append(Silent(rank=row, age=age, inside=inside, stack=stack))
        return found

    def _kill(self, row: int) -> None:
        self.ended.add((self._board.get(row, Column.ATTEMPT), row))
        _send(self._board.get(row, Column.PID), signal.SIGKILL)

    def _rows(self, *states: State) -> list[int]:
        return [r for r in range(self._board.ranks) if self._board.get(r, Column.STATE) in states]

    def _tell(self, row: int) -> None:
        """Send a rank what it has not been told and has not heard itself.

        A cluster may send a signal to each of its processes, ranks and launcher alike. A rank that
        got it twice would take it for the second one, which ends it at once. So the rank is given
        a moment to hear it.
        """
        before = time.monotonic() - PERIOD
        asked = [number for number, since in self._asked if since <= before]
        if not asked:
            return
        pid = self._board.get(row, Column.PID)
        told = self._told.setdefault(pid, [])
        heard = signals_heard(self._folder, self._board.get(row, Column.ATTEMPT), row)
        for number in dict.fromkeys(asked):
            known = max(told.count(number), heard.count(number))
            for _ in range(asked.count(number) - known):
                _send(pid, number)
                told.append(number)

    def _end_survivors(self) -> None:
        """Kill what still runs some seconds after a rank of the same attempt has failed."""
        running = self._rows(State.RUNNING)
        dead = []
        for row in running:
            status = _status(self._board.get(row, Column.PID))
            if status is not RUNS:
                dead.append(row)
                self.vanished.setdefault(self._board.get(row, Column.ATTEMPT), (row, status))
                # Torch's launcher waits for a pipe to be closed that these hold open too.
                _send_to_group(self._board.get(row, Column.PID), signal.SIGKILL)
        attempts = {
            self._board.get(row, Column.ATTEMPT) for row in (*self._rows(State.FAILED), *dead)
        }
        survivors = [
            row
            for row in running
            if row not in dead and self._board.get(row, Column.ATTEMPT) in attempts
        ]
        self._dead = len(dead)
        if not survivors and not dead:
            self._failed_at = None
        elif self._failed_at is None:
            self._failed_at = time.monotonic()
        elif time.monotonic() - self._failed_at > GRACE:
            for row in survivors:
                self._kill(row)
            if survivors:  # that they are gone is for torch's launcher to notice, not for us
                self._failed_at = time.monotonic()

    def _all_gone(self) -> bool:
        """Wake the launching thread where nobody is left, and torch waits for results still.

        That is where ranks ended with code 0 on their own, by ``os._exit(0)``, say.
        """
        if (
            not self._dead
            or self._failed_at is None
            or self._rows(State.ABSENT, State.FAILED, State.LEAVING)
        ):
            return False
        if len(self._rows(State.RUNNING)) > self._dead:
            return False
        if time.monotonic() - self._failed_at < GRACE:
            return False
        raised = ctypes.py_object(VanishedError)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._launching), raised)
        return True


class VanishedError(Exception):
    """All ranks are gone, and torch's launcher has not noticed."""


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it just ended
        os.kill(pid, number)


def _send_to_group(pid: int, number: int) -> None:
    """Send a signal to what a rank has started: workers of its loaders, say."""
    if pid > 0:  # 0 would mean our own
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing, or not of ours
            os.killpg(pid, number)


RUNS = object()
"""The status of a process that has not ended."""


def _status(pid: int) -> Any:
    """Return a child's exit code, None where it can't be told any more, :data:`RUNS` before.

    Without asking the system to forget the child: that is for who started it.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return None
        try:
            os.kill(pid, 0)  # a system without /proc
        except ProcessLookupError:
            return None
        return RUNS
    values = text.rpartition(")")[2].split()
    return os.waitstatus_to_exitcode(int(values[-1])) if values[0] in "ZX" else RUNS


ENDING = (signal.SIGTERM, signal.SIGINT)
"""Signals that are always handed on, and whose third one ends all."""


def taken_over() -> tuple[signal.Signals, ...]:
    """Return the signals that shall mean the ranks: those that end a run.

    Of others a callback may have asked for, those count here that nobody handles in this process,
    which they would end. In the main thread only: Python lets no other one set an answer to a
    signal.
    """
    if threading.current_thread() is not threading.main_thread():
        return ()
    found = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    return (*found, *(number for number in _known("SIGUSR1", "SIGUSR2") if _ends_us(number)))


def left_to_torch() -> tuple[signal.Signals, ...]:
    """Return the signals at which torch's launcher ends the ranks and raises an exception.

    One that this process ignores is ignored still, as ``nohup`` has it. Torch must have one, so
    SIGQUIT stands in for none.
    """
    found = _known("SIGHUP", "SIGQUIT")
    return tuple(number for number in found if _ends_us(number)) or found[-1:]


def _known(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def _ends_us(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_DFL


@contextlib.contextmanager
def handing_on_signals(
    supervisor: Supervisor, numbers: tuple[signal.Signals, ...]
) -> Iterator[None]:
    """Let signals mean the ranks; the third one that means the end ends them and this process.

    Afterwards all have the answers that they had, also those that torch's launcher takes over.
    """
    all_ours = threading.current_thread() is threading.main_thread()
    touched = {*numbers, *left_to_torch()} if all_ours else set()
    before = {number: signal.getsignal(number) for number in touched}

    def hand_on(number: int, frame: FrameType | None) -> None:
        count = supervisor.hand_on(signal.Signals(number))
        if count > 2 and number in ENDING:
            supervisor.end_all()
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, hand_on)
    try:
        yield
    finally:
        for number, answer in before.items():
            if answer is not None:  # one that was not set from Python
                signal.signal(number, answer)
