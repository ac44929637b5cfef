"""Numbers in one line, for a person."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def spelled(metrics: Mapping[str, Any], room: float = math.inf) -> str:
    """Return metrics in one line, each number with three digits that count.

    Args:
        metrics: name to number; of ``name/dataloader_idx_0`` is shown ``name/0``.
        room: columns. What does not fit is left out: half a number would be another one.

    >>> spelled({"loss": 0.5, "acc": 1 / 3, "n": 1234.0, "run": "a7"})
    'loss=0.500, acc=0.333, n=1.23e+03, run=a7'
    >>> spelled({"loss": 0.5, "acc": 1 / 3, "n": 1234.0}, room=30)
    'loss=0.500, acc=0.333, ...'
    """
    words = (f"{shown(name)}={_number(value)}" for name, value in metrics.items())
    return fitting(words, room, between=", ")


def fitting(words: Iterable[str], room: float, *, between: str) -> str:
    """Return words in one line, without those for which there is no room.

    >>> fitting(["one", "two", "three"], 11, between=" ")
    'one two ...'
    >>> fitting(["one", "three", "two"], 11, between=" ")
    'one two ...'
    >>> fitting(["one", "two", "three"], 2, between=" ")
    ''
    """
    everything = list(words)
    if len(between.join(everything)) <= room:
        return between.join(everything)
    left = ["..."]
    for word in everything:
        if len(between.join([*left, word])) <= room:
            left.insert(-1, word)
    return between.join(left) if len(left[-1]) <= room else ""


def shown(name: str) -> str:
    """Return the name of a metric as it is shown."""
    return name.replace("/dataloader_idx_", "/")


def clock(seconds: float) -> str:
    """Return a duration as on a clock.

    >>> clock(75), clock(3675)
    ('01:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _number(value: Any) -> str:
    if isinstance(value, str | int):
        return str(value)
    return f"{float(value):#.3g}".removesuffix(".")
