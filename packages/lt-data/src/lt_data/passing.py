"""The passing reader: batches of an iterable, passed on as they are and in its own order."""

import copy
from collections import deque
from collections.abc import Generator, Iterator
from itertools import chain, count, islice
from typing import Any, Literal, final

import torch
from torch.utils.data import DataLoader

from lt_data.dealing import Deal
from lt_data.own_state import position_keeper, state_of_samples
from lt_data.readers import Reader, log
from lt_data.seeding import BATCHES, WORKERS, mixed, put_back, seed_generators, states
from lt_data.settings import Settings
from lt_data.waiting import watched
from lt_data.workers import (
    began,
    copied,
    end_persistent_workers,
    end_workers_of,
    has_nothing_more,
    reads_like_torch,
)

_NONE = object()


@final
class PassingReader(Reader):
    """Reads any iterable of batches; of several processes, each takes its turn.

    A list, a tuple or a range is entered at any position. What keeps its own state is given it
    back. Anything else is read up to the position; where its samples have a state, they are given
    that back then.

    A DataLoader, unless its order is to be torch's, is begun under random numbers of its own, and
    read so too where it has no workers; other iterables draw from the global generators as they
    like.

    Attributes:
        seeks: whether a position is reached without reading up to it.
    """

    unit = "batches"

    def __init__(self, loader: Any, *, name: str, place: Deal, settings: Settings) -> None:
        """Take a loader over, without changing it.

        Args:
            loader: which one.
            name: what to call it in messages.
            place: this process among those that share the data.
            settings: how it is read.
        """
        self._loader, self._name, self._timeout = loader, name, float(settings.timeout)
        self.deal = Deal(place.rank, place.world_size, 1, place.training, place.training)
        self._lies_ready = type(loader) in (list, tuple, range)
        self._stateful = position_keeper(loader)
        self._samples: Any = None if self._stateful is not None else state_of_samples(loader)
        self._state_of_samples: Any = None  # to be given back once the position is reached
        self.seeks = self._lies_ready or self._stateful is not None
        self._seeded = settings.order == "seeded" and isinstance(loader, DataLoader)
        self._each_seeded = settings.seed_samples
        self._generator = torch.Generator()
        self._twin = loader
        if self._seeded and self._stateful is None and reads_like_torch(loader):
            self._twin = copied(loader, generator=self._generator)
        self._iterator: Iterator[Any] | None = None
        self._restored: Literal["ended", "underway"] | None = None
        self._told = False

    @property
    def units(self) -> int | None:
        """Batches of the loader."""
        return length_of(self._loader)

    @property
    def length(self) -> int | None:
        """Batches of this process."""
        return None if (units := self.units) is None else self.deal.batches(units)

    def begin(self, word: int, position: int) -> Iterator[Any]:
        """Begin to read, and to read on after the position."""
        if self._restored == "ended" and position:
            return iter(())  # nothing is left of it, and the state is for the next epoch
        restored, self._restored = self._restored, None
        batches = self._iterate(word, position if restored else 0)
        if restored and not position:
            batches = self._in_a_new_epoch(batches, word, ended=restored == "ended")
        elif position and not restored:
            batches = self._skipped(batches, position)
        else:
            self._give_back_samples()
        return batches if self.deal.world_size == 1 else self._deal_out(batches)

    def _iterate(self, word: int, number: int) -> Iterator[Any]:
        """Begin to read the loader; the batch that comes first counts as that number."""
        loader = self._twin
        if not isinstance(loader, DataLoader):
            self._iterator = iter(loader)
            return self._iterator
        if not self._seeded:
            self._iterator = began(loader, self._timeout)
            return watched(self._iterator, self._name, self.close)
        self._generator.manual_seed(mixed(word, WORKERS))
        before = states()
        try:
            seed_generators(mixed(word, WORKERS))
            self._iterator = began(loader, self._timeout)
        finally:
            put_back(before)
        if loader.num_workers or not self._each_seeded:
            return watched(self._iterator, self._name, self.close)
        return _seeded(self._iterator, mixed(word, BATCHES), number)

    def _in_a_new_epoch(self, batches: Iterator[Any], word: int, *, ended: bool) -> Iterator[Any]:
        """Read a new epoch with a loader that was given its state in the one before.

        What the state leaves of that epoch is passed over. A loader that had come to its end may
        begin the new one at once, or may have nothing more to give before it is read again.
        """
        first = next(batches, _NONE)
        if ended and first is not _NONE:
            return chain([first], batches)
        self.end()
        return self._iterate(word, 0)

    def _skipped(self, batches: Iterator[Any], position: int) -> Iterator[Any]:
        if self._lies_ready:
            return islice(batches, position, None)
        if not self._told:
            self._told = True
            log.warning(
                "Going on after batch %d of an epoch: the %s loader is read up to there, and what "
                "it draws at random may differ from the first time. A loader with state_dict and "
                "load_state_dict is not read again.",
                *(position, self._name),
            )
        return self._after(batches, position)

    def _after(self, batches: Iterator[Any], position: int) -> Generator[Any, None, None]:
        deque(islice(batches, position), maxlen=0)
        self._give_back_samples()
        while (batch := next(batches, _NONE)) is not _NONE:  # iter() might let it start anew
            yield batch

    def _give_back_samples(self) -> None:
        state, self._state_of_samples = self._state_of_samples, None
        if state is not None:
            self._samples.load_state_dict(state)

    def _deal_out(self, batches: Iterator[Any]) -> Generator[Any, None, None]:
        """Yield every batch that is this process's turn."""
        world_size = self.deal.world_size
        while together := list(islice(batches, world_size)):
            share = self.deal.share(len(together))
            if share is None:
                if self.deal.training:
                    log.info(
                        "The last %d batches of the %s loader are left out: they are too few for "
                        "%d processes.",
                        *(len(together), self._name, world_size),
                    )
                return
            yield together[share.start]

    def fingerprint(self) -> dict[str, Any]:
        """Return what kind of loader it is, its length and, of a DataLoader, its batch size."""
        return {
            "loader": type(self._loader).__name__,
            "length": self.units,
            "batch_size": getattr(self._loader, "batch_size", None),
        }

    def capture(self) -> Any:
        """Return the loader's own state, that of its dataset, or None."""
        part = self._samples if self._stateful is None else self._stateful
        return None if part is None else copy.deepcopy(part.state_dict())

    def restore(self, state: Any, *, ended: bool) -> None:
        """Give the loader its state back; its samples theirs, where the position is reached."""
        if state is None:
            return
        if self._stateful is not None:
            self._stateful.load_state_dict(copy.deepcopy(state))
            self._restored = "ended" if ended else "underway"
        elif self._samples is not None:
            self._state_of_samples = copy.deepcopy(state)

    def exhausted(self) -> bool:
        """Return whether the dataset of a DataLoader ended within the batch that was read last.

        Its state is then that after the end, which may be that of a start.
        """
        return has_nothing_more(self._iterator)

    def end(self) -> None:
        """Let go of the epoch; an iterator that the user passed stays open."""
        iterator, self._iterator = self._iterator, None
        if iterator is None or iterator is self._loader:
            return
        if isinstance(iterator, Generator):
            iterator.close()
        end_workers_of(iterator)

    def close(self) -> None:
        """End the workers."""
        self.end()
        for loader in (self._twin, self._loader):
            end_persistent_workers(loader)


def _seeded(batches: Iterator[Any], word: int, first: int) -> Generator[Any, None, None]:
    """Yield batches, each drawn under random numbers of its own."""
    for number in count(first):
        before = states()
        try:
            seed_generators(mixed(word, number))
            batch = next(batches, _NONE)
        finally:
            put_back(before)
        if batch is _NONE:
            return
        yield batch


def length_of(loader: Any) -> int | None:
    """Return the batches of a loader, or None where it can't say."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None
