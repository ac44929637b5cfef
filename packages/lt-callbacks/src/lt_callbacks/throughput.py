"""Throughput: what has been done in how much time, over the newest batches. It knows no trainer.

The names of the numbers, and what they mean, are those of Lightning's ``Throughput``.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, final


class Clock(Protocol):
    """Tells moments, of which the seconds between two can be asked for later."""

    def now(self) -> Any:
        """Return this moment, without waiting for anything."""

    def seconds(self, before: Any, after: Any) -> float:
        """Return the time between two moments. It may wait until the later one has come."""


@final
class HostClock:
    """The clock of the process."""

    def __init__(self, read: Callable[[], float] = time.perf_counter) -> None:
        """Read the time, in seconds, with a function."""
        self.now = read

    def seconds(self, before: float, after: float) -> float:
        """Return the time between two moments."""
        return after - before


@final
@dataclass(frozen=True, slots=True)
class Lap:
    """The end of a batch, and what was done up to it.

    Attributes:
        moment: of the clock.
        pauses: how many pauses lie before it.
        waited: host seconds spent waiting for data so far.
        samples: samples so far.
        lengths: items in these samples so far; None where they are not counted.
        flops: operations of this batch; None where they are not known.
    """

    moment: Any
    pauses: int
    waited: float
    samples: int
    lengths: int | None
    flops: int | None


@final
class Throughput:
    """Numbers about one loop: in total, and per second over a window of the newest batches.

    The clock stands still between :meth:`pause` and :meth:`resume`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        window_size: int = 100,
        available_flops: float | None = None,
        world_size: int = 1,
        separator: str = "/",
    ) -> None:
        """Start without anything done.

        Args:
            clock: tells the time.
            window_size: batches of the window, at least 2. Before it is full, nothing is said
                about the speed.
            available_flops: operations per second that one device is capable of.
            world_size: how many devices do the same as this one.
            separator: stands between ``device`` and a name.

        Raises:
            ValueError: the window is too small, or the speed is not positive.
        """
        if window_size < 2:
            raise ValueError(
                "window_size is a number of batches of at least 2, the first and the last of a "
                f"time to measure. Received window_size={window_size!r}."
            )
        if available_flops is not None and not available_flops > 0:
            raise ValueError(
                "available_flops is a number of operations per second of one device, or None. "
                f"Received available_flops={available_flops!r}."
            )
        self.clock, self.available_flops = clock, available_flops
        self.world_size, self.separator = world_size, separator
        self._laps: deque[Lap] = deque(maxlen=window_size)
        self.start()

    def start(self) -> None:
        """Begin anew, now."""
        self._laps.clear()
        self._pauses: list[tuple[Any, Any]] = []
        self._paused_at: Any = None
        self._settled = 0  # pauses whose time is known already, and that time
        self._settled_seconds = 0.0
        self.batches = self.samples = 0
        self.lengths: int | None = None
        self._waited = 0.0
        self._begun = self.clock.now()

    def pause(self) -> None:
        """Stop the clock."""
        self._paused_at = self.clock.now()

    def resume(self) -> None:
        """Let the clock go on, if it was stopped."""
        if self._paused_at is not None:
            self._pauses.append((self._paused_at, self.clock.now()))
            self._paused_at = None

    def wait(self, seconds: float) -> None:
        """Count time in which the host waited for data."""
        self._waited += seconds

    def lap(self, samples: int, *, length: int | None = None, flops: int | None = None) -> None:
        """Count a batch that ends now.

        Args:
            samples: samples of the batch.
            length: items in them, such as tokens; for all batches, or for none.
            flops: operations that it took on this device.
        """
        self.batches += 1
        self.samples += samples
        if length is not None:
            self.lengths = (self.lengths or 0) + length
        now, pauses = self.clock.now(), self._settled + len(self._pauses)
        self._laps.append(Lap(now, pauses, self._waited, self.samples, self.lengths, flops))

    def compute(self) -> dict[str, float]:
        """Return all numbers, those per second only if the window is full. It may wait for them.

        Raises:
            ValueError: no batch has been counted.
        """
        if not self._laps:
            raise ValueError("Throughput is of batches. Received a request before the first one.")
        first, last = self._laps[0], self._laps[-1]
        in_window = self._paused(first.pauses, last.pauses)
        self._settle(first.pauses)
        total = self.clock.seconds(self._begun, last.moment) - self._paused(0, last.pauses)
        found: dict[str, float] = {
            "time": total,
            "batches": self.batches,
            "samples": self.samples,
        }
        if self.lengths is not None:
            found["lengths"] = self.lengths
        if len(self._laps) == self._laps.maxlen:
            seconds = self.clock.seconds(first.moment, last.moment) - in_window
            if seconds > 0:  # a clock may be too coarse to tell
                found |= self._rates(first, last, seconds)
        return found

    def _rates(self, first: Lap, last: Lap, seconds: float) -> dict[str, float]:
        batches = len(self._laps) - 1
        rates = {
            "batches_per_sec": batches / seconds,
            "samples_per_sec": (last.samples - first.samples) / seconds,
        }
        if first.lengths is not None and last.lengths is not None:
            rates["items_per_sec"] = (last.lengths - first.lengths) / seconds
        flops = [lap.flops for lap in self._laps if lap.flops is not None]
        if len(flops) == len(self._laps):
            rates["flops_per_sec"] = sum(flops[1:]) / seconds
        of_device = {f"device{self.separator}{name}": rate for name, rate in rates.items()}
        share = (last.waited - first.waited) / seconds
        of_device[f"device{self.separator}data_wait"] = min(1.0, share)
        if self.available_flops and "flops_per_sec" in rates:
            mfu = rates["flops_per_sec"] / self.available_flops
            of_device[f"device{self.separator}mfu"] = mfu
        if self.world_size == 1:
            return of_device
        return {name: rate * self.world_size for name, rate in rates.items()} | of_device

    def _paused(self, before: int, after: int) -> float:
        """Return the time of the pauses between two counts of them; ``before`` may be 0."""
        settled = self._settled_seconds if before < self._settled else 0.0
        places = slice(max(before - self._settled, 0), max(after - self._settled, 0))
        return settled + sum(self.clock.seconds(*pause) for pause in self._pauses[places])

    def _settle(self, count: int) -> None:
        """Turn pauses before the window into a number."""
        while self._settled < count:
            self._settled_seconds += self.clock.seconds(*self._pauses.pop(0))
            self._settled += 1
