"""SimpleProfiler: how long each action took, and how often."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from lt_callbacks.profilers.profiler import Profiler

Row = tuple[str, ...]


@final
@dataclass(slots=True)
class Total:
    """All calls of one action.

    Attributes:
        calls: how many have ended.
        seconds: how long they took together.
    """

    calls: int = 0
    seconds: float = 0.0


@final
class SimpleProfiler(Profiler):
    """Adds up the seconds of each action.

    Actions nest, so the percentages of all rows add up to more than 100: a batch holds its step.
    The total is the time from the beginning of the first action to the end of the last.

    Nobody waits for an accelerator on its behalf: a kernel that was only queued costs the next
    action that waits, often ``read`` or ``backward``. For times of kernels, see PyTorchProfiler.

    Args:
        dirpath: the folder of reports; None for that of the trainer's logger.
        filename: writes reports to a file of about that name; None to standard output.
        extended: whether the report has columns for calls and percentages.
        clock: returns seconds.

    Attributes:
        totals: what was recorded, by action.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        extended: bool = True,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(dirpath, filename)
        self.extended = extended
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Forget all actions."""
        self.totals: dict[str, Total] = {}
        self._begun: dict[str, float] = {}
        self._first: float | None = None
        self._last = 0.0

    def start(self, action_name: str) -> None:
        """Look at the clock.

        Raises:
            ValueError: the action is under way.
        """
        if action_name in self._begun:
            raise ValueError(
                f"An action ends before it begins again. Received start({action_name!r}) twice. "
                "Use two names."
            )
        now = self._begun[action_name] = self._clock()
        if self._first is None:
            self._first = now

    def stop(self, action_name: str) -> None:
        """Look at the clock again.

        Raises:
            ValueError: the action is not under way.
        """
        now = self._last = self._clock()
        begun = self._begun.pop(action_name, None)
        if begun is None:
            raise ValueError(
                f"An action that ends was begun. Received stop({action_name!r}) without its start."
            )
        total = self.totals.get(action_name)
        if total is None:
            total = self.totals[action_name] = Total()
        total.calls += 1
        total.seconds += now - begun

    def summary(self) -> str:
        """Return a table with a row for each action, the longest first; empty without any."""
        if not self.totals or self._first is None:
            return ""
        whole = self._last - self._first
        ordered = sorted(self.totals.items(), key=lambda item: -item[1].seconds)
        headings = ("Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %")
        rows: list[Row] = [headings, ("Total", "", "", f"{whole:.5g}", "100.0")]
        for action, total in ordered:
            share = 100 * total.seconds / whole if whole else 0.0
            mean = total.seconds / total.calls
            numbers = (f"{mean:.5g}", str(total.calls), f"{total.seconds:.5g}", f"{share:.1f}")
            rows.append((action, *numbers))
        if not self.extended:
            rows = [(action, mean, seconds) for action, mean, _, seconds, _ in rows]
        return self.titled(_table(rows))


def _table(rows: list[Row]) -> str:
    """Return lines of columns, the first aligned to the left; the first row holds the headings.

    >>> print(_table([("Action", "Calls"), ("step", "10"), ("stop", "9")]))
    ---------------
     Action  Calls
    ---------------
     step       10
     stop        9
    ---------------
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    bar = "-" * (sum(widths) + 2 * len(widths))
    headings, *lines = (_line(row, widths) for row in rows)
    return "\n".join([bar, headings, bar, *lines, bar])


def _line(cells: Row, widths: list[int]) -> str:
    first, *others = cells
    numbers = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return " " + "  ".join([first.ljust(widths[0]), *numbers])
