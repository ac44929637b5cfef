"""The board: a few numbers per rank in shared memory, for those who watch over a group.

A rank writes its own row and reads the others'. Writing a number takes a tenth of a microsecond,
and no lock: each is eight bytes, written as one, by one writer.
"""

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import final

COLUMNS = 16


class Column(IntEnum):
    """What stands where in the row of a rank."""

    PID = 0
    STATE = 1
    BEAT = 2  # when it last showed a sign of life, in nanoseconds of time.monotonic_ns
    INSIDE = 3  # 1 while it waits for the others in a collective
    WATCHED = 4  # 1 from its first step or safe point on: before that, a rank may take its time
    ATTEMPT = 5  # how often its group was started before
    BUSY = 6  # 1 while it does what somebody else watches, as a save
    CODES = 8  # four numbers, for World.agree


class State(IntEnum):
    """How far a rank is."""

    ABSENT = 0
    RUNNING = 1
    DONE = 2
    FAILED = 3
    LEAVING = 4  # told to end, ready to, and waiting for the others to be


@final
class Board:
    """The rows of the ranks of one machine, in a file that each of them maps into its memory."""

    def __init__(self, path: Path | None, ranks: int) -> None:
        """Map the file, which is made where it does not exist; without a path, a board of one."""
        self._path, self.ranks = path, ranks
        size = ranks * COLUMNS * 8
        if path is None:
            memory = mmap.mmap(-1, size)
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.ftruncate(descriptor, size)
                memory = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
        self.cells = memoryview(memory).cast("q")

    def __reduce__(self) -> tuple[type["Board"], tuple[Path | None, int]]:
        """Travel to another process by name; the memory stays the same."""
        return Board, (self._path, self.ranks)

    def get(self, rank: int, column: int) -> int:
        """Read one number of a rank's row."""
        return self.cells[rank * COLUMNS + column]

    def set(self, rank: int, column: int, value: int) -> None:
        """Write one number of a rank's row."""
        self.cells[rank * COLUMNS + column] = value

    def begin(self, rank: int, attempt: int = 0) -> None:
        """Clear a rank's row and note that it runs, perhaps not for the first time."""
        for column in range(COLUMNS):
            self.set(rank, column, 0)
        self.set(rank, Column.ATTEMPT, attempt)
        self.set(rank, Column.PID, os.getpid())
        self.set(rank, Column.BEAT, time.monotonic_ns())
        self.set(rank, Column.STATE, State.RUNNING)


@final
class Pulse:
    """The signs of life of one rank, written to its row of a board."""

    __slots__ = ("_beat", "_cells", "_inside", "_watched", "board", "row")

    def __init__(self, board: Board, row: int) -> None:
        """Take a row, which :meth:`Board.begin` has cleared."""
        self.board, self.row = board, row
        self._cells, start = board.cells, row * COLUMNS
        self._beat, self._inside = start + Column.BEAT, start + Column.INSIDE
        self._watched = start + Column.WATCHED

    def beat(self) -> None:
        """Show a sign of life: a step begins, a safe point is reached."""
        self._cells[self._beat] = time.monotonic_ns()
        self._cells[self._watched] = 1

    def __enter__(self) -> None:
        """Begin to wait for the others."""
        self._cells[self._beat] = time.monotonic_ns()
        self._cells[self._inside] = 1

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        """Stop waiting; after a failure the mark stays, to tell whose fault it was."""
        if kind is None:
            self._cells[self._inside] = 0
            self._cells[self._beat] = time.monotonic_ns()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Do something that may take long: until its end, silence means nothing."""
        self.board.set(self.row, Column.BUSY, 1)
        try:
            yield
        finally:
            self.board.set(self.row, Column.BUSY, 0)
            self._cells[self._beat] = time.monotonic_ns()

    @property
    def inside(self) -> bool:
        """Whether this rank waits for the others, or failed while it did."""
        return bool(self._cells[self._inside])

    def age(self) -> float:
        """Seconds since the last sign of life; none while it is busy."""
        if self.board.get(self.row, Column.BUSY):
            return 0.0
        return (time.monotonic_ns() - self._cells[self._beat]) / 1e9

    @property
    def watched(self) -> bool:
        """Whether the rank has reached its first step or safe point."""
        return bool(self._cells[self._watched])
