"""Batches as the engine meets them: their size, and the accumulation windows they fall into."""

from collections.abc import Iterator, Mapping
from itertools import islice, repeat
from typing import Any


def batch_size_of(batch: Any) -> int:
    """Return the number of samples in a batch: the length of the first array found in it.

    >>> batch_size_of(({"x": [1, 2, 3]},))
    3

    Raises:
        ValueError: nothing in it has a length.
    """
    if type(batch) in (tuple, list) and batch and (shape := getattr(batch[0], "shape", None)):
        return int(shape[0])  # the usual case, first
    size = _first_size(batch)
    if size is None:
        raise ValueError(
            "An epoch's mean is weighted by the batch size, which must be known. Received a batch "
            f"of type {type(batch).__name__} without an array in it. "
            "Pass log(..., batch_size=...)."
        )
    return size


def _first_size(batch: Any) -> int | None:
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 1
    if isinstance(batch, Mapping):
        parts = list(batch.values())
    elif isinstance(batch, list | tuple):
        if batch and all(isinstance(part, int | float | str) for part in batch):
            return len(batch)
        parts = list(batch)
    elif hasattr(batch, "__dataclass_fields__"):
        parts = [getattr(batch, name) for name in batch.__dataclass_fields__]
    else:
        return None
    return next((size for part in parts if (size := _first_size(part)) is not None), None)


def windows(
    batches: Iterator[Any], size: int, length: int | None, *, start: int = 0
) -> Iterator[tuple[Any, int, bool]]:
    """Group batches into accumulation windows of one optimizer step each.

    Args:
        batches: the batches of one epoch.
        size: batches in a full window.
        length: batches in the epoch; where it is not known, one window is read ahead.
        start: batches of the epoch that are already done.

    Returns:
        An iterator over each batch, the real size of its window (the last one of an epoch may be
        smaller), and whether the batch closes it. It raises a ValueError where fewer batches come
        than the length promised, in the midst of a window.

    >>> list(windows(iter("abcd"), 3, 4))
    [('a', 3, False), ('b', 3, False), ('c', 3, True), ('d', 1, True)]
    """
    if size == 1:
        return zip(batches, repeat(1), repeat(True))
    if length is None:
        return _windows_read_ahead(batches, size)
    return _windows_of_length(batches, size, length, start)


def _windows_read_ahead(batches: Iterator[Any], size: int) -> Iterator[tuple[Any, int, bool]]:
    while window := list(islice(batches, size)):
        for place, batch in enumerate(window, 1):
            yield batch, len(window), place == len(window)


def _windows_of_length(
    batches: Iterator[Any], size: int, length: int, start: int
) -> Iterator[tuple[Any, int, bool]]:
    place = real = 0
    index = start - 1
    for index, batch in enumerate(batches, start):
        place = index % size + 1
        real = min(size, length - (index - index % size))
        yield batch, real, place == real
    if place != real:
        raise ValueError(
            "A loader yields as many batches as its length says. Received "
            f"{index + 1} instead of {length}. Correct its __len__."
        )
