"""What loggers that send their records somewhere have in common: nobody waits for them."""

import threading
import time
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lt_callbacks.hyperparameters import as_plain
from lt_callbacks.logger import Logger, NoExperiment, OnError, on_rank_zero
from lt_callbacks.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Record:
    """Something to send.

    Attributes:
        kind: what it is; ``"begin"`` stands before what comes after an ``"end"``.
        content: metrics or hyper-parameters by name; of the end of a run its ``status``.
        step: the index of the optimizer step.
        seconds: when it was logged, since 1970.
    """

    kind: Literal["begin", "metrics", "hyperparameters", "end"]
    content: Mapping[str, Any]
    step: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Sending:
    """How a logger sends.

    Attributes:
        capacity: how many records may wait; for one more there is no place.
        flush_seconds: how long the end of a run waits for what is on its way.
    """

    capacity: int = 10_000
    flush_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of its range.
        """
        if self.capacity < 1 or not self.flush_seconds > 0:
            raise ValueError(
                "A logger keeps at least one record and waits for more than 0 seconds. Received "
                f"queue_size={self.capacity!r} and flush_timeout={self.flush_seconds!r}."
            )


class RemoteLogger(Logger, ABC):
    """A logger that sends its records in a thread of its own. Abstract.

    A training never waits for it. While the receiver is down, records wait, up to a number of
    them, and are tried again. The end of a run waits until they have arrived, or until the time
    for that is over. What was lost is said in a warning, or raised where ``on_error="raise"``.
    """

    def __init__(self, *, prefix: str, on_error: OnError, sending: Sending) -> None:
        super().__init__(prefix=prefix, on_error=on_error)
        self._sending = sending
        self._experiment: Any = None
        self._ended = False
        self._start()

    def _start(self) -> None:
        self._opening = threading.Lock()
        self._outbox: Outbox[Record] = Outbox(self.send, capacity=self._sending.capacity)

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be copied and pickled: the arguments, and which run it is."""
        left_out = ("_opening", "_outbox", "_experiment")
        return {name: v for name, v in super().__getstate__().items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it over, with nothing on its way."""
        self.__dict__.update(state)
        self._experiment = None
        self._start()

    @property
    def experiment(self) -> Any:
        """The object of the library underneath, made when it is first asked for.

        Making it may wait for a server. On ranks that do not write it is an object that accepts
        everything and does nothing.
        """
        if not self.writes:
            return NoExperiment()
        with self._opening:
            if self._experiment is None:
                self._experiment = self.connect()
            return self._experiment

    @abstractmethod
    def connect(self) -> Any:
        """Make the object of the library underneath. May wait."""

    @abstractmethod
    def send(self, records: list[Record]) -> None:
        """Send records, in their order. May wait, and raises where it does not succeed."""

    @on_rank_zero
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send numbers, or tensors with one element.

        Args:
            metrics: name to number.
            step: the index of the optimizer step.

        Raises:
            RuntimeError: what was sent before did not arrive, and ``on_error="raise"``.
        """
        self.enqueue("metrics", self.prefixed(metrics), step)

    @on_rank_zero
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        """Send hyper-parameters. The engine hands out those that a module saved.

        Args:
            params: name to value; what is not data is sent as ``str(value)``.
        """
        self.enqueue("hyperparameters", as_plain(params))

    @on_rank_zero
    def save(self) -> None:
        """Wait until everything logged so far has arrived, at most ``flush_timeout`` seconds.

        Raises:
            RuntimeError: something did not.
        """
        arrived = self._outbox.flush(self._sending.flush_seconds)
        lost, failure = self._outbox.take_trouble()
        if arrived and not lost:
            return
        late = "" if arrived else f", and {len(self._outbox)} did not arrive in time"
        raise RuntimeError(
            f"Records arrive within flush_timeout={self._sending.flush_seconds:g} seconds. "
            f"{lost} were lost{late}. Look at the connection, or raise flush_timeout or queue_size."
        ) from failure

    @on_rank_zero
    def finalize(self, status: str) -> None:
        """Say that the run is over, and wait until everything has arrived, as :meth:`save` does.

        Args:
            status: how the run ended: ``"success"``, ``"failed"`` or ``"interrupted"``.

        Raises:
            RuntimeError: something did not arrive.
        """
        if self._experiment is None and not self._outbox:
            return  # nothing was ever logged
        self._outbox.put(Record("end", {"status": status}, None, time.time()))
        self._ended = True
        self.save()

    def enqueue(
        self,
        kind: Literal["metrics", "hyperparameters"],
        content: Mapping[str, Any],
        step: int | None = None,
    ) -> None:
        """Hand a record to the thread. Never waits.

        Raises:
            RuntimeError: something sent before did not arrive, and ``on_error="raise"``.
        """
        if self._ended:
            self._outbox.put(Record("begin", {}, None, time.time()))
            self._ended = False
        placed = self._outbox.put(Record(kind, content, step, time.time()))
        failure = self._outbox.failure
        if placed and failure is None:
            return
        if self._on_error == "raise":
            _, failure = self._outbox.take_trouble()
            raise RuntimeError(f"{type(self).__name__} could not send its records.") from failure
        if not placed:
            what = f"has {len(self._outbox)} records waiting and no place for another: it is lost"
        else:
            what = f"could not send its records, which wait and are tried again: {failure!r}"
        self.warn(f"{type(self).__name__} {what}. The run goes on.", about=f"placed={placed}")
