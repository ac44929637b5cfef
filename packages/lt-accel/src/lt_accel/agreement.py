"""Agreement: the greatest code that any rank gave, told to all of them one call later.

Waiting for the slowest rank at every safe point would cost what the ranks could compute meanwhile.
So each call publishes a code and answers for the call before, which the others have published long
since. All ranks get the same answer at the same call, which makes a stop reproducible to the step.
"""

import os
import time
from typing import Any, Protocol, final

import torch
import torch.distributed as dist

from lt_accel.board import COLUMNS, Board, Column, Pulse, State

CODES = 1 << 15
"""Codes lie below this; they share a number with the count of calls."""

SLOTS = 4
"""Ranks are at most two calls apart, so a slot is read by all before it is written again."""


class Agreement(Protocol):
    """What ``World.agree`` calls."""

    def __call__(self, code: int) -> int:
        """Publish a code; return the greatest of the call before, 0 at the first call."""


@final
class OnTheBoard:
    """Agrees through shared memory: for ranks that all run on one machine. Costs a microsecond."""

    def __init__(self, pulse: Pulse, *, timeout: float) -> None:
        """Publish in the row of ``pulse``; give up on the others after ``timeout`` seconds."""
        self._pulse, self._timeout = pulse, timeout
        self._board: Board = pulse.board
        self._cells = pulse.board.cells
        self._mine = pulse.row * COLUMNS + Column.CODES
        self._starts = [row * COLUMNS + Column.CODES for row in range(pulse.board.ranks)]
        self._calls = 0

    def __call__(self, code: int) -> int:
        """Publish and read; see :class:`Agreement`."""
        cells, before = self._cells, self._calls
        self._calls = now = before + 1
        cells[self._mine + now % SLOTS] = now * CODES + code
        self._pulse.beat()
        if not before:
            return 0
        greatest = 0
        for row, start in enumerate(self._starts):
            cell = start + before % SLOTS
            published = cells[cell]
            if published // CODES != before:
                published = self._awaited(row, cell, before)
            code = published % CODES
            if code > greatest:
                greatest = code
        return greatest

    def _awaited(self, row: int, cell: int, call: int) -> int:
        """Wait for a rank that is a whole step behind."""
        began, pause = time.monotonic(), 0.0
        with self._pulse:
            while (published := self._cells[cell]) // CODES != call:
                self._check(row, time.monotonic() - began)
                time.sleep(pause)
                pause = min(pause + 0.0001, 0.01)
        return published

    def _check(self, row: int, waited: float) -> None:
        state = self._board.get(row, Column.STATE)
        if state != State.RUNNING or waited > self._timeout or not self._lives(row, waited):
            raise RuntimeError(
                "Ranks agree at each safe point. Received nothing from rank "
                f"{row}, which {'waits elsewhere' if state == State.RUNNING else 'has ended'}, for "
                f"{waited:.1f} s. See that all ranks take the same number of steps."
            )

    def _lives(self, row: int, waited: float) -> bool:
        if waited < 1.0:
            return True  # the usual case, which needs no system call
        try:
            os.kill(self._board.get(row, Column.PID), 0)
        except ProcessLookupError:
            return False
        return True


@final
class OverTheGroup:
    """Agrees by an asynchronous reduction: for ranks on several machines."""

    def __init__(self, pulse: Pulse, group: Any) -> None:
        """Reduce over a group of the CPU."""
        self._pulse, self._group = pulse, group
        self._before: tuple[Any, torch.Tensor] | None = None

    def __call__(self, code: int) -> int:
        """Begin a reduction, and finish that of the call before; see :class:`Agreement`."""
        codes = torch.tensor([code], dtype=torch.int64)
        work = dist.all_reduce(codes, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        before, self._before = self._before, (work, codes)
        self._pulse.beat()
        if before is None:
            return 0
        with self._pulse:
            before[0].wait()
        return int(before[1])
