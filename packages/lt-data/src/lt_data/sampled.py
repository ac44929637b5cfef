"""The sampled reader: a DataLoader over a dataset with samples, read in an order of our own."""

import copy
from collections.abc import Generator, Iterator
from typing import Any, final

import torch
from torch.utils.data import DataLoader

from lt_data.dealing import Deal
from lt_data.fetching import Fetch, Ticket
from lt_data.orders import Order, generators_of, order_of, samples_of
from lt_data.own_state import state_of_samples
from lt_data.readers import Reader
from lt_data.seeding import SAMPLES, WORKERS, mixed, put_back, states
from lt_data.settings import Settings
from lt_data.tensor_rows import rows_of
from lt_data.waiting import watched
from lt_data.workers import began, copied, end_persistent_workers, end_workers_of


@final
class SampledReader(Reader):
    """Reads a map-style DataLoader as its user built it, in an order drawn from the seed.

    Sampler, batch sampler, ``collate_fn``, workers, pinning and prefetching are the loader's. Each
    sample is fetched under random numbers of its own, and the generators of this process stand
    afterwards where they stood before. What comes before a position is skipped without loading it.
    A dataset with a state of its own is given that back.
    """

    def __init__(
        self, loader: DataLoader[Any], *, name: str, place: Deal, settings: Settings
    ) -> None:
        """Take a loader over, without changing it.

        Args:
            loader: which one.
            name: what to call it in messages.
            place: this process among those that share the data; its ``size`` is not used.
            settings: how it is read.
        """
        self._loader, self._name, self._timeout = loader, name, float(settings.timeout)
        samples = samples_of(loader)
        self._samples = samples is not None
        self._sampler: Any = (
            loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        )
        self._batched = loader.batch_sampler is not None
        size, drop_last = 1, False
        if samples is not None:
            self._sampler, size, drop_last = samples
        self.deal = Deal(place.rank, place.world_size, size, place.training, drop_last)
        self.unit = "samples" if self._samples or not self._batched else "batches"
        self._generators = generators_of(loader)
        self._fetch = Fetch(
            loader.dataset,
            loader.collate_fn,
            batched=self._batched,
            seeded=settings.seed_samples,
        )
        self._stateful = state_of_samples(loader)
        self._twin: DataLoader[Any] | None = None
        self._tickets = _Tickets()
        self._workers_generator = torch.Generator()
        self._iterator: Iterator[Any] | None = None

    @property
    def units(self) -> int | None:
        """Samples in an epoch, or batches of a batch sampler."""
        try:
            return len(self._sampler)
        except (TypeError, NotImplementedError):
            return None

    @property
    def length(self) -> int | None:
        """Batches of this process."""
        return None if (units := self.units) is None else self.deal.batches(units)

    def begin(self, word: int, position: int) -> Iterator[Any]:
        """Draw the order of the epoch, skip what was read, and begin with the rest."""
        order = order_of(self._sampler, word, self._generators)
        if position:
            order.skip(position)
        tickets = self._deal_out(order, mixed(word, SAMPLES), position)
        loader = self._loader
        if loader.num_workers:
            self._iterator = self._begin_torch(tickets, word)
            return watched(self._iterator, self._name, self.close)
        if loader.pin_memory:
            self._iterator = self._begin_torch(tickets, word)
            return _apart(self._iterator)
        if self._samples and (rows := rows_of(loader.dataset, loader.collate_fn)):
            return (rows(ticket.keys) for ticket in tickets)
        if self._fetch.draws:
            return _apart(self._fetch[ticket] for ticket in tickets)
        return (self._fetch[ticket] for ticket in tickets)

    def _begin_torch(self, tickets: Iterator[Ticket], word: int) -> Iterator[Any]:
        if self._twin is None:
            self._twin = copied(
                self._loader,
                dataset=self._fetch,
                sampler=self._tickets,
                batch_sampler=None,
                collate_fn=_as_it_is,
                generator=self._workers_generator,
            )
        self._tickets.this_epoch = tickets
        self._workers_generator.manual_seed(mixed(word, WORKERS))
        return began(self._twin, self._timeout)

    def _deal_out(self, order: Order, word: int, position: int) -> Iterator[Ticket]:
        """Yield what this process is to fetch."""
        take, share_of, size = order.take, self.deal.share, self.deal.round
        whole = share_of(size)
        while count := len(keys := take(size)):
            share = whole if count == size else share_of(count)
            if share is None:
                return
            first, part = position + share.start, keys[share]
            if self._samples or not self._batched:
                yield Ticket(part, word, first, share.step)
            else:
                yield Ticket(part[0], mixed(word, first), 0, 1)
            position += count

    def fingerprint(self) -> dict[str, Any]:
        """Return batch size, length of the dataset, sampler and ``drop_last``."""
        dataset: Any = self._loader.dataset
        return {
            "batch_size": self.deal.size if self._samples else None,
            "dataset_length": len(dataset) if hasattr(type(dataset), "__len__") else None,
            "sampler": type(self._sampler).__name__,
            "drop_last": self.deal.drop_last,
        }

    def capture(self) -> Any:
        """Return the dataset's own state, or None."""
        return None if self._stateful is None else copy.deepcopy(self._stateful.state_dict())

    def restore(self, state: Any, *, ended: bool) -> None:
        """Give the dataset its state back."""
        del ended
        if self._stateful is not None and state is not None:
            self._stateful.load_state_dict(copy.deepcopy(state))

    def end(self) -> None:
        """Let go of the epoch."""
        iterator, self._iterator = self._iterator, None
        end_workers_of(iterator)

    def close(self) -> None:
        """End the workers."""
        self.end()
        for loader in (self._twin, self._loader):
            end_persistent_workers(loader)


@final
class _Tickets:
    """Stands in the place of a sampler, and gives the tickets of the epoch that begins."""

    this_epoch: Iterator[Ticket] = iter(())

    def __iter__(self) -> Iterator[Ticket]:
        return self.this_epoch


def _as_it_is(batch: Any) -> Any:
    return batch


def _apart(batches: Iterator[Any]) -> Generator[Any, None, None]:
    """Yield batches, after each of which the global generators stand where they stood before."""
    while True:
        before = states()
        try:
            batch = next(batches)
        except StopIteration:
            return
        finally:
            put_back(before)
        yield batch
