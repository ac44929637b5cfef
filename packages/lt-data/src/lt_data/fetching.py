"""Fetching: from the keys of a batch to the batch, under random numbers of its own."""

from collections.abc import Callable
from typing import Any, NamedTuple, final

from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    Dataset,
    StackDataset,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
)

from lt_data.seeding import COLLATING, mixed, seed_generators


class Ticket(NamedTuple):
    """What is to be fetched.

    Attributes:
        keys: the keys of the samples: a list, a range or a tensor.
        word: what their random numbers are drawn from, with the place of each.
        first: the place of the first one in the order of the epoch.
        step: from one place to the next.
    """

    keys: Any
    word: int
    first: int
    step: int


@final
class Fetch(Dataset[Any]):
    """Fetches whole batches, in this process or in a worker, as torch would do it.

    Before a sample is asked for, the global generators are seeded by its place in the epoch, and
    once more before the samples are put together. A dataset with ``__getitems__`` is asked for a
    whole batch, and seeded by the place of its first sample. What is known to draw nothing is not
    seeded.

    Attributes:
        given: the user's dataset.
        draws: whether anything here may draw random numbers.
    """

    def __init__(
        self, dataset: Any, collate: Callable[[Any], Any], *, batched: bool, seeded: bool
    ) -> None:
        """Keep what is asked.

        Args:
            dataset: has samples.
            collate: makes a batch of a list of samples, or of one sample.
            batched: whether there is a list.
            seeded: False to seed nothing at all.
        """
        self.given = dataset
        self._collate = collate
        self._batched = batched
        self._samples_draw = seeded and draws_samples(dataset)
        self._collate_draws = seeded and collate not in (default_collate, default_convert)
        self.draws = self._samples_draw or self._collate_draws

    def __getitem__(self, ticket: Ticket) -> Any:
        """Return the batch of a ticket."""
        keys = ticket.keys.tolist() if isinstance(ticket.keys, Tensor) else list(ticket.keys)
        data = self._samples(ticket, keys) if self._batched else self._sample(ticket, keys[0])
        if self._collate_draws:
            seed_generators(mixed(mixed(ticket.word, ticket.first), COLLATING))
        return self._collate(data)

    def _sample(self, ticket: Ticket, key: Any) -> Any:
        if self._samples_draw:
            seed_generators(mixed(ticket.word, ticket.first))
        return self.given[key]

    def _samples(self, ticket: Ticket, keys: list[Any]) -> Any:
        dataset = self.given
        while _is_plain_subset(dataset):
            keys = [dataset.indices[key] for key in keys]
            dataset = dataset.dataset
        word, place, step = ticket.word, ticket.first, ticket.step
        if several := _getitems(dataset):
            if self._samples_draw:
                seed_generators(mixed(word, place))
            return several(keys)
        if not self._samples_draw:
            return [dataset[key] for key in keys]
        samples = []
        for key in keys:
            seed_generators(mixed(word, place))
            samples.append(dataset[key])
            place += step
        return samples


def _is_plain_subset(dataset: Any) -> bool:
    """Return whether a subset is asked through nothing but its indices."""
    kind = type(dataset)
    return (
        isinstance(dataset, Subset)
        and kind.__getitem__ is Subset.__getitem__
        and kind.__getitems__ is Subset.__getitems__
    )


def _getitems(dataset: Any) -> Callable[[list[Any]], Any] | None:
    """Return how a dataset is asked for several samples, if it does more than ask one by one."""
    asks = type(dataset) is not StackDataset or any(
        hasattr(part, "__getitems__") for part in _stacked(dataset)
    )
    if not asks:
        return None
    return getattr(dataset, "__getitems__", None) or None


def draws_samples(dataset: Any) -> bool:
    """Return whether a dataset may draw random numbers: all but torch's containers of data may."""
    kind = type(dataset)
    if kind in (TensorDataset, list, tuple, range, dict) or isinstance(dataset, Tensor):
        return False
    if _is_plain_subset(dataset):
        return draws_samples(dataset.dataset)
    if kind is ConcatDataset:
        return any(map(draws_samples, dataset.datasets))
    if kind is StackDataset:
        return any(map(draws_samples, _stacked(dataset)))
    return True


def _stacked(dataset: StackDataset[Any]) -> list[Any]:
    parts: Any = dataset.datasets
    return list(parts.values() if isinstance(parts, dict) else parts)
