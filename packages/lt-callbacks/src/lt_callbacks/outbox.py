"""Outbox: hands records to a slow or failing receiver in a thread, so that nobody waits for it."""

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar, final

T = TypeVar("T")

SUSPECTS = 3
"""So many records in a row that fail, one by one, and it is the receiver that is down."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between attempts while the receiver is down; each pause is twice the one before."""


@final
class Outbox(Generic[T]):
    """A queue of bounded length and a thread that empties it.

    Records are delivered in order, but for those that failed at first.

    :meth:`put` never waits: in a full queue there is no place for another record. While nothing
    gets through, records are kept and tried again, at growing intervals. A record that fails before
    and after another one gets through is refused for what it is, and given up. The thread lives as
    long as there is something to do and is no reason for the interpreter to stay.

    Args:
        deliver: sends some records; called in the thread, with at most ``at_once`` of them.
        capacity: how many records may wait.
        at_once: how many records are delivered together.

    Attributes:
        lost: how many records were given up or found no place, since somebody last asked.
        failure: the last exception of ``deliver`` since then.
    """

    def __init__(
        self, deliver: Callable[[list[T]], None], *, capacity: int, at_once: int = 100
    ) -> None:
        self.lost = 0
        self.failure: Exception | None = None
        self._deliver, self._capacity, self._at_once = deliver, capacity, at_once
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._hurries = 0

    def __len__(self) -> int:
        """Return how many records wait."""
        return len(self._waiting)

    def put(self, record: T) -> bool:
        """Take in a record; return whether there was a place for it."""
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self.lost += 1
                return False
            self._waiting.append(record)
            if self._thread is None or not self._thread.is_alive():  # a fork leaves it behind
                self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
                self._thread.start()
        return True

    def flush(self, seconds: float) -> bool:
        """Wait until nothing waits any more, or the time is up; return whether all is delivered."""
        with self._changed:
            self._hurries += 1
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def take_trouble(self) -> tuple[int, Exception | None]:
        """Return ``lost`` and ``failure`` as of now, and begin anew."""
        with self._changed:
            taken = self.lost, self.failure
            self.lost, self.failure = 0, None
        return taken

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    return
                records = list(islice(self._waiting, self._at_once))
            kept = self._attempt(records)
            with self._changed:
                for _ in records:
                    self._waiting.popleft()
                self._waiting.extendleft(reversed(kept))
                self._changed.notify_all()
                if not kept:
                    pause = FIRST_PAUSE
                    continue
                hurries = self._hurries
                self._changed.wait_for(lambda before=hurries: self._hurries > before, pause)  # type: ignore[misc]
                pause = min(2 * pause, LONGEST_PAUSE)

    def _attempt(self, records: list[T]) -> list[T]:
        """Deliver records; return those to keep because nothing gets through."""
        if self._delivered(records):
            return []
        if len(records) == 1:
            return records
        suspects: list[T] = []
        for index, record in enumerate(records):
            if self._delivered([record]):
                # It may have come up again in between, so each gets one more chance.
                self.lost += sum(not self._delivered([suspect]) for suspect in suspects)
                suspects = []
                continue
            suspects.append(record)
            if len(suspects) == SUSPECTS:
                return suspects + records[index + 1 :]
        return suspects

    def _delivered(self, records: list[T]) -> bool:
        try:
            self._deliver(records)
        except Exception as error:  # whatever it is, it must not end the thread
            self.failure = error
            return False
        return True
