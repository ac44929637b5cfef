"""Orders: what a sampler gives in one epoch, drawn from a seed and taken piece by piece."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, final

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lt_data.seeding import ORDER, SAMPLER, Apart, mixed


class Order(Protocol):
    """The keys of one epoch, in the order in which they are read."""

    def skip(self, count: int) -> None:
        """Leave out the next ``count`` keys."""

    def take(self, count: int) -> Any:
        """Return the next ``count`` keys, fewer at the end: a list, a range or a tensor."""


@final
class _Laid:
    """An order that is known as a whole: any part of it is found at once."""

    def __init__(self, keys: Any, names: Sequence[Any] | None = None) -> None:
        self._keys, self._names, self._at = keys, names, 0

    def skip(self, count: int) -> None:
        self._at += count

    def take(self, count: int) -> Any:
        part = self._keys[self._at : self._at + count]
        self._at += len(part)
        names = self._names
        return part if names is None else [names[place] for place in part.tolist()]


@final
class _Drawn:
    """The order of a sampler of the user's, which is iterated under generators of its own.

    It is asked for a batch at a time, as torch does: it may look at what was learnt so far.
    """

    def __init__(self, sampler: Iterable[Any], apart: Apart) -> None:
        self._apart = apart
        with apart:
            self._keys: Iterator[Any] = iter(sampler)

    def skip(self, count: int) -> None:
        with self._apart:
            deque(islice(self._keys, count), maxlen=0)

    def take(self, count: int) -> list[Any]:
        with self._apart:
            return list(islice(self._keys, count))


@final
class _Read:
    """The order of what draws nothing from the global generators, and is iterated as it is."""

    def __init__(self, sampler: Iterable[Any]) -> None:
        self._keys = iter(sampler)

    def skip(self, count: int) -> None:
        deque(islice(self._keys, count), maxlen=0)

    def take(self, count: int) -> list[Any]:
        return list(islice(self._keys, count))


def order_of(sampler: Any, word: int, generators: Sequence[torch.Generator]) -> Order:
    """Return what a sampler, or a batch sampler, gives in the epoch of that word.

    Args:
        sampler: torch's own, whose order is drawn here, or any iterable of keys.
        word: the same for the same seed and epoch.
        generators: what a sampler of the user's draws from beside the global generators. They are
            left as they are.
    """
    kind = type(sampler)
    if kind is SequentialSampler:
        return _Laid(range(len(sampler.data_source)))
    if kind in (list, tuple, range):
        return _Laid(sampler)
    if kind in (RandomSampler, SubsetRandomSampler, WeightedRandomSampler):
        generator = torch.Generator()
        generator.manual_seed(mixed(word, ORDER))
        if kind is RandomSampler:
            return _Laid(_at_random(sampler, generator))
        if kind is WeightedRandomSampler:
            weighted = (sampler.weights, sampler.num_samples, sampler.replacement)
            return _Laid(torch.multinomial(*weighted, generator=generator))
        places = torch.randperm(len(sampler.indices), generator=generator)
        return _Laid(places, sampler.indices)
    if kind is DistributedSampler or hasattr(sampler, "shape"):
        return _Read(sampler)
    return _Drawn(sampler, Apart(mixed(word, SAMPLER), generators))


def _at_random(sampler: RandomSampler, generator: torch.Generator) -> Tensor:
    size, wanted = len(sampler.data_source), sampler.num_samples
    if sampler.replacement:
        return torch.randint(size, (wanted,), generator=generator)
    rounds, rest = divmod(wanted, size)
    whole = [torch.randperm(size, generator=generator) for _ in range(rounds)]
    if rest:
        whole.append(torch.randperm(size, generator=generator)[:rest])
    return whole[0] if len(whole) == 1 else torch.cat(whole)


def generators_of(loader: Any) -> list[torch.Generator]:
    """Return the generators that the user gave to a loader or its samplers, each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    sampler = getattr(loader, "sampler", None)
    parts = [loader, batch_sampler, sampler, getattr(batch_sampler, "sampler", None)]
    found = [getattr(part, "generator", None) for part in parts]
    kept = {id(one): one for one in found if isinstance(one, torch.Generator)}
    return list(kept.values())


def samples_of(loader: DataLoader[Any]) -> tuple[Any, int, bool] | None:
    """Return the sampler of a loader that batches samples, its batch size and ``drop_last``.

    None where it does not: it has a batch sampler of the user's own, or makes no batches.
    """
    batches: Any = loader.batch_sampler
    if type(batches) is not BatchSampler:
        return None
    return batches.sampler, batches.batch_size, batches.drop_last


def shards_itself(loader: Any) -> bool:
    """Return whether a loader, one of its samplers or its dataset takes its own share already.

    They do who know a number of replicas and a rank, as torch's ``DistributedSampler``, and the
    datasets that ``split_dataset_by_node`` of Hugging Face makes.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    sampler, dataset = getattr(loader, "sampler", None), getattr(loader, "dataset", None)
    parts = (loader, batch_sampler, sampler, getattr(batch_sampler, "sampler", None), dataset)
    return any(
        (hasattr(part, "num_replicas") and hasattr(part, "rank"))
        or getattr(part, "_distributed", None) is not None
        for part in parts
    )
