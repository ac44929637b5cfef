"""A bar: what a progress bar draws on, whatever draws it; and one that is a line in a file."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, Protocol, final

from lt_callbacks.spelled_metrics import clock, spelled

Kind = Literal["train", "sanity", "validation", "test", "predict"]


@dataclass(frozen=True, slots=True)
class Place:
    """What a bar is for, and where it stands.

    Attributes:
        kind: what runs.
        description: what stands to its left.
        total: batches at its end, None where that is not known.
        line: how many lines below the first.
        done: batches that were done before its clock started.
    """

    kind: Kind
    description: str
    total: int | None
    line: int = 0
    done: int = 0


class Bar(Protocol):
    """One bar, drawn when it is told to and at no other time."""

    def draw(self, done: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Show ``done`` batches; without metrics, with those it had."""

    def finish(self, metrics: Mapping[str, Any] | None = None, *, stays: bool) -> None:
        """Leave a line on the screen, or none; without metrics, with those it had."""


@final
class PlainLine:
    """A line that is written to standard error when all is done: for files and pipes."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._done = place.done
        self._metrics: Mapping[str, Any] = {}
        self._begun = monotonic()

    def draw(self, done: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Remember it."""
        self._done = done
        self._metrics = self._metrics if metrics is None else metrics

    def finish(self, metrics: Mapping[str, Any] | None = None, *, stays: bool) -> None:
        """Write the line, if it stays."""
        self._metrics = self._metrics if metrics is None else metrics
        if stays and sys.stderr is not None:
            sys.stderr.write(f"{self}\n")
            sys.stderr.flush()

    def __str__(self) -> str:
        """Return the line."""
        place, seconds = self._place, monotonic() - self._begun
        of = "" if place.total in (None, self._done) else f"/{place.total}"
        steps = self._done - place.done
        speed = f"{steps / seconds:5.2f}it/s" if steps and seconds > 0 else "?it/s"
        metrics = f", {spelled(self._metrics)}" if self._metrics else ""
        return f"{place.description}: {self._done}{of}it [{clock(seconds)}, {speed}{metrics}]"
