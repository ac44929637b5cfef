"""Ahead: batches on their way to the device while the ones before are used, and the position."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

from lt_loop.ports import Stream


@final
class Ahead:
    """Reads a stream through a backend that places batches ahead of the program.

    The stream then stands further on than the program does; :meth:`position` is the program's.
    """

    def __init__(self, stream: Stream, prefetch: Callable[[Iterable[Any]], Iterator[Any]]) -> None:
        """Read ahead by the backend's ``prefetch``."""
        self._stream, self._prefetch = stream, prefetch
        self._noted: deque[dict[str, Any]] = deque()
        self._position: dict[str, Any] | None = None

    def read(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches of one epoch, placed."""
        self._noted.clear()
        self._position = None
        for placed in self._prefetch(self._noting(batches)):
            self._position = self._noted.popleft()
            yield placed

    def position(self) -> dict[str, Any]:
        """Return the position after the batches that were handed out."""
        return self._stream.state_dict() if self._position is None else self._position

    def _noting(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._noted.append(self._stream.state_dict())
            yield batch
