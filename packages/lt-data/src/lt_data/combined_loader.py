"""The combined loader: several loaders, read as one."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, final

from lt_data.admission import check_loader
from lt_data.modes import Mode, check_mode, length, together
from lt_data.passing import length_of
from lt_data.structure import structure_of


@final
class CombinedLoader:
    """Several loaders, read as one. Name, modes and what it yields are Lightning's.

    Iterating yields ``(batch, batch_idx, dataloader_idx)``. Under ``min_size``, ``max_size`` and
    ``max_size_cycle`` the loaders are read side by side: a batch has the form of the collection,
    with a batch of each loader in it, and ``dataloader_idx`` is 0. Under ``sequential`` they are
    read one after another: a batch is one loader's, and both numbers say which.

    >>> loaders = {"a": range(3), "b": [10, 11]}
    >>> [batch for batch, _, _ in CombinedLoader(loaders, "max_size_cycle")]
    [{'a': 0, 'b': 10}, {'a': 1, 'b': 11}, {'a': 2, 'b': 10}]
    >>> list(CombinedLoader(loaders, "sequential"))
    [(0, 0, 0), (1, 1, 0), (2, 2, 0), (10, 0, 1), (11, 1, 1)]

    Each iteration is independent of the others. In a run of the trainer, give it the loader
    itself: the steps receive the batches, and the position is kept.

    Attributes:
        mode: in which order the loaders are read.
        places: where each loader stands in the collection, for messages.
        build: makes a collection of the same form out of one value for each loader.
    """

    def __init__(self, iterables: Any, mode: Mode = "min_size") -> None:
        """Combine loaders; nothing is read from them yet.

        Args:
            iterables: a dict, list or tuple of loaders, nested at will, or a single one. An inner
                list counts as a loader, one of batches, unless it holds loaders itself.
            mode: ``min_size`` ends with the shortest loader. ``max_size`` ends with the longest,
                the others giving None; ``max_size_cycle`` too, the others beginning anew.
                ``sequential`` reads one after another.

        Raises:
            TypeError: something in the collection yields no batches.
            ValueError: there is no such mode, or no loader at all.
        """
        check_mode(mode)
        parts = structure_of(iterables)
        if not parts.loaders:
            raise ValueError(
                f"A combined loader holds at least one loader. Received {iterables!r}. "
                "Pass a dict, list or tuple of loaders."
            )
        for place, loader in zip(parts.places, parts.loaders, strict=True):
            check_loader(loader, phase="combined", place=place)
        self.mode: Mode = mode
        self.places = parts.places
        self._loaders = list(parts.loaders)
        self.build = parts.build
        self._limits: list[int | None] | None = None

    @property
    def iterables(self) -> Any:
        """The loaders, in the form in which they were given."""
        return self.build(self._loaders)

    @property
    def flattened(self) -> list[Any]:
        """The loaders, in a flat list. Setting it replaces them one by one.

        Raises:
            ValueError: there are more or fewer than before.
        """
        return list(self._loaders)

    @flattened.setter
    def flattened(self, loaders: Sequence[Any]) -> None:
        self._check_number("flattened", loaders)
        self._loaders = list(loaders)

    @property
    def limits(self) -> list[int | None] | None:
        """The most batches to read of each loader in one go; None for all.

        They are for loops by hand: a trainer has its own, ``limit_train_batches`` and the like.
        An int is the limit of every loader.

        Raises:
            ValueError: there is not one for each loader.
        """
        return self._limits

    @limits.setter
    def limits(self, limits: int | Sequence[int | None] | None) -> None:
        if isinstance(limits, int):
            limits = [limits] * len(self._loaders)
        if limits is not None:
            self._check_number("limits", limits)
        self._limits = None if limits is None else list(limits)

    def _check_number(self, name: str, given: Sequence[Any]) -> None:
        if len(given) != len(self._loaders):
            raise ValueError(
                f"{name} has an entry for each loader. Received {len(given)} for "
                f"{len(self._loaders)} loaders."
            )

    def __len__(self) -> int:
        """Return the number of batches.

        Raises:
            TypeError: a loader has no length.
        """
        lengths = [self._length(number) for number in range(len(self._loaders))]
        combined = length(self.mode, lengths)
        if combined is None:
            number = lengths.index(None)
            raise TypeError(
                "A combined loader has a length where each of its loaders has one. Received a "
                f"{type(self._loaders[number]).__name__} at {self.places[number] or 'the top'}, "
                "which has none."
            )
        return combined

    def _length(self, number: int) -> int | None:
        count, limit = length_of(self._loaders[number]), self._limit(number)
        return count if count is None or limit is None else min(count, limit)

    def _limit(self, number: int) -> int | None:
        return self._limits[number] if self._limits else None

    def _read(self, number: int) -> Iterator[Any]:
        return islice(iter(self._loaders[number]), self._limit(number))

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        """Yield ``(batch, batch_idx, dataloader_idx)`` from the start."""
        numbers = range(len(self._loaders))
        if self.mode == "sequential":
            for number in numbers:
                for batch_idx, batch in enumerate(self._read(number)):
                    yield batch, batch_idx, number
            return
        iterators = [self._read(number) for number in numbers]
        batches = together(
            self.mode, iterators, again=self._read, cycling=set(), places=self.places
        )
        for batch_idx, items in enumerate(batches):
            yield self.build(items), batch_idx, 0
