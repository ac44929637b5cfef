"""Modes: in which order several loaders are read as one. Names and meanings are Lightning's."""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Literal, get_args

Mode = Literal["min_size", "max_size_cycle", "max_size", "sequential"]
"""``min_size`` ends with the shortest loader, ``max_size`` and ``max_size_cycle`` with the longest:
the others then give None, or begin anew. ``sequential`` reads one loader after another."""

MODES: tuple[Mode, ...] = get_args(Mode)

_END = object()


def check_mode(mode: Any) -> None:
    """Check that a mode is one.

    Raises:
        ValueError: it is none.
    """
    if mode not in MODES:
        raise ValueError(
            f"A mode of combining loaders is one of {', '.join(MODES)}. Received mode={mode!r}."
        )


def length(mode: Mode, lengths: Sequence[int | None]) -> int | None:
    """Return how many batches loaders of these lengths give together; None where it is not known.

    >>> length("min_size", [3, 5]), length("sequential", [3, 5]), length("max_size", [3, None])
    (3, 8, None)
    """
    known = [one for one in lengths if one is not None]
    if len(known) < len(lengths):
        return None
    if mode == "min_size":
        return min(known)
    return sum(known) if mode == "sequential" else max(known)


def together(
    mode: Mode,
    iterators: list[Iterator[Any]],
    *,
    again: Callable[[int], Iterator[Any]],
    cycling: set[int],
    places: Sequence[str],
) -> Iterator[Sequence[Any]]:
    """Yield what loaders that are read side by side give, one item of each at a time.

    Args:
        mode: any but ``sequential``, which reads one after another.
        iterators: the loaders, being read.
        again: begins to read the loader of that number anew.
        cycling: the numbers of the loaders that were read to their end before; kept up to date.
        places: what to call each loader in messages.

    Raises:
        ValueError: a loader that is to begin anew gives nothing.
    """
    if mode == "max_size_cycle":
        return _cycle(iterators, again, cycling, places)
    if mode == "max_size":
        return zip_longest(*iterators)
    return zip(*iterators, strict=False)


def _cycle(
    iterators: list[Iterator[Any]],
    again: Callable[[int], Iterator[Any]],
    cycling: set[int],
    places: Sequence[str],
) -> Iterator[Sequence[Any]]:
    """Yield until the last loader has been read to its end.

    A loader begins anew only after all were asked: when they end together, none is read in vain.
    """
    while True:
        items = [next(iterator, _END) for iterator in iterators]
        ended = [number for number, item in enumerate(items) if item is _END]
        cycling.update(ended)
        if len(cycling) == len(iterators):
            return
        for number in ended:
            iterators[number] = again(number)
            items[number] = next(iterators[number], _END)
            if items[number] is _END:
                raise used_up(places[number])
        yield items


def used_up(place: str) -> ValueError:
    """Return the error of a loader that can't begin anew."""
    return ValueError(
        "Under max_size_cycle a loader that ends before the others is read again. Received one at "
        f"{place} that yields nothing then. An iterator that was used up yields none; pass an "
        "object that can be read anew (a DataLoader, a list), or combine by another mode."
    )
