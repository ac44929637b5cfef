"""SHA-256 beside the writing or reading: one thread that hashes what the other moves."""

import hashlib
import queue
import threading
from types import TracebackType
from typing import Self, final

import torch

from lt_checkpoint.raw_bytes import bytes_of

WAITING_AT_MOST = 16
"""Pieces that wait to be hashed, where memory is kept only for that."""

SMALL = 1 << 16
"""Bytes below which a piece is hashed at once: handing it over would take longer."""


@final
class Hashing:
    """The SHA-256 of pieces of memory, computed in a thread of its own.

    Hashing 100 MB takes about as long as writing them, and neither holds the interpreter's lock.

    Args:
        bounded: let :meth:`add` wait while much is waiting to be hashed. Pieces that are in memory
            anyway need no bound.
    """

    def __init__(self, *, bounded: bool = True) -> None:
        self._digest = hashlib.sha256()
        limit = WAITING_AT_MOST if bounded else 0
        self._queue: queue.Queue[torch.Tensor | None] = queue.Queue(limit)
        self._thread: threading.Thread | None = None

    def add(self, piece: torch.Tensor) -> None:
        """Hash a piece, which must not change before :meth:`hexdigest` returns."""
        if self._thread is None:
            if piece.numel() * piece.element_size() < SMALL:
                self._digest.update(bytes_of(piece))
                return
            self._thread = threading.Thread(target=self._work, name="lt-hashing", daemon=True)
            self._thread.start()
        self._queue.put(piece)

    def _work(self) -> None:
        while (piece := self._queue.get()) is not None:
            self._digest.update(bytes_of(piece))

    def hexdigest(self) -> str:
        """Return the hash of everything that was added; nothing can be added after."""
        self._end()
        return self._digest.hexdigest()

    def _end(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the thread end."""
        self._end()
