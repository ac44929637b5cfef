"""The conformance kit of the port Feed, and of the streams it opens."""

import copy
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

from lt_loop.conformance.raising import raised_by
from lt_loop.conformance.ranks import in_ranks
from lt_loop.ports import Feed, Phase, Stream, World
from lt_loop.solo import OneProcess

LOADING: tuple[Phase, ...] = ("train", "validate", "test", "predict")


class Unsized:
    """An iterable without a length."""

    def __init__(self, batches: Any) -> None:
        """Yield some batches."""
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        """Yield them again."""
        yield from self._batches


class FeedConformance(ABC):
    """What the engine relies on in a feed.

    To fill in: :meth:`make`; and :meth:`loader` with :meth:`samples` where the feed has loaders of
    a kind of its own.

    Attributes:
        epochs: how many epochs a test reads.
    """

    epochs: int = 3

    @abstractmethod
    def make(self) -> Feed:
        """Return a new feed. All of them open equal loaders to equal streams."""

    def loader(self) -> Any:
        """Return a new loader of at least four batches; all of them yield the same.

        Its order may differ from epoch to epoch. By default it is a list of batches, of 13 samples
        together, which neither two nor three ranks can share evenly.
        """
        return [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11], [12]]

    def unsized_loader(self) -> Any:
        """Return such a loader without a length: by default an object with ``__iter__`` alone."""
        return Unsized(self.loader())

    def samples(self, batch: Any) -> list[Any]:
        """Return what is in a batch, as a list of values that can be compared and counted."""
        return list(batch)

    def _open(self, phase: Phase = "train", loader: Any = None, world: Any = None) -> Stream:
        loader = self.loader() if loader is None else loader
        return self.make().open(loader, phase=phase, world=world or OneProcess())

    def _read(self, stream: Stream, epoch: int, most: int | None = None) -> list[list[Any]]:
        """Return the samples of the batches of an epoch, or of the first of them."""
        found: list[list[Any]] = []
        batches = stream.epoch(epoch)
        while most is None or len(found) < most:
            try:
                found.append(self.samples(next(batches)))
            except StopIteration:
                break
        return found

    def _whole(self, epoch: int, phase: Phase = "train") -> list[list[Any]]:
        """Return an epoch as a stream of its own reads it."""
        stream = self._open(phase)
        found = self._read(stream, epoch)
        stream.close()
        return found

    # Opening

    def test_it_has_what_the_port_has(self) -> None:
        """A feed has ``open``, and what it opens has all that a stream has."""
        assert isinstance(self.make(), Feed), (
            f"A feed has what lt_loop.ports.Feed has. Received {type(self.make())}."
        )
        stream = self._open()
        members = [name for name in vars(Stream) if not name.startswith("_")]
        lacking = [name for name in members if not hasattr(stream, name)]
        assert not lacking, f"A stream has {', '.join(members)}. It lacks {', '.join(lacking)}."

    def test_what_is_no_loader_is_refused(self) -> None:
        """``open`` raises a TypeError for what does not yield batches."""
        for given in (3, object(), None, "batches"):
            raised_by(
                TypeError,
                partial(self.make().open, given, phase="train", world=OneProcess()),
                f"What yields no batches, such as {given!r}, is refused by open",
            )

    def test_several_loaders_are_read_as_one_or_refused(self) -> None:
        """A dict of training loaders yields dicts of batches, or is a LookupError."""
        loaders = {"a": self.loader(), "b": self.loader()}
        try:
            stream = self._open(loader=loaders)
        except LookupError:
            return
        batches = list(stream.epoch(0))
        stream.close()
        assert all(
            isinstance(batch, Mapping) and batch.keys() == loaders.keys() for batch in batches
        )
        expected = Counter(sample for batch in self._whole(0) for sample in batch)
        for name in loaders:
            found = Counter(sample for batch in batches for sample in self.samples(batch[name]))
            assert found == expected, (
                f"Each loader of a collection is read. Received {found} of {name!r}."
            )

    def test_a_loader_in_order_has_the_same_samples(self) -> None:
        """``in_order``, where there is one, leaves out the shuffling and nothing else."""
        put_in_order = getattr(self.make(), "in_order", None)
        if put_in_order is None:
            return
        epochs = [self._read(self._open(loader=put_in_order(self.loader())), n) for n in (0, 1)]
        assert epochs[0] == epochs[1], (
            f"A loader in order yields the same in each epoch. Received {epochs}."
        )
        found, expected = sorted(_samples_in(epochs[0])), sorted(_samples_in(self._whole(0)))
        assert found == expected, f"Nothing is left out. Received {found}, expected {expected}."

    # Reading

    def test_an_epoch_has_every_sample_once(self) -> None:
        """An epoch is what the loader yields, whatever it is read for."""
        expected = sorted(sample for batch in self.loader() for sample in self.samples(batch))
        for phase in LOADING:
            stream = self._open(phase)
            for epoch in range(self.epochs):
                found = sorted(_samples_in(self._read(stream, epoch)))
                assert found == expected, (
                    f"Epoch {epoch} of a {phase} loader has every sample once. Received {found}, "
                    f"expected {expected}."
                )
            stream.close()

    def test_two_streams_of_equal_loaders_read_the_same(self) -> None:
        """An epoch is the same whether or not those before it were read."""
        stream = self._open()
        read = [self._read(stream, epoch) for epoch in range(self.epochs)]
        for epoch, found in enumerate(read):
            expected = self._whole(epoch)
            assert found == expected, (
                f"Epoch {epoch} is the same after others and alone. Received {found} and "
                f"{expected}."
            )

    def test_length_is_that_of_an_epoch(self) -> None:
        """``length`` counts the batches of an epoch, or is None."""
        for loader in (self.loader(), self.unsized_loader()):
            stream = self._open(loader=loader)
            told = stream.length
            found = len(self._read(stream, 0))
            assert told is None or told == found, (
                f"length counts the batches of an epoch, or is None. Received {told} of {found}."
            )

    def test_the_last_batch_is_known_as_the_last(self) -> None:
        """``is_last`` is True after the last batch of an epoch, and after no other."""
        for loader in (self.loader(), self.unsized_loader()):
            stream = self._open(loader=loader)
            for epoch in range(2):
                told = [bool(stream.is_last) for _ in stream.epoch(epoch)]
                assert told == [False] * (len(told) - 1) + [True], (
                    f"is_last is True after the last batch alone. Received {told}."
                )

    def test_asking_for_the_last_moves_nothing(self) -> None:
        """``is_last`` neither loses a batch nor moves the position."""
        for make in (self.loader, self.unsized_loader):
            expected = self._read(self._open(loader=make()), 0)
            stream, found = self._open(loader=make()), []
            for batch in stream.epoch(0):
                before = stream.state_dict()
                _ = stream.is_last
                after = stream.state_dict()
                assert before == after, (
                    f"is_last leaves the position. Received {after} after {before}."
                )
                found.append(self.samples(batch))
            assert found == expected, f"is_last loses no batch. Received {found}, not {expected}."

    def test_an_epoch_that_was_left_is_begun_anew(self) -> None:
        """An epoch that is not read to its end leaves nothing behind for the next."""
        stream = self._open()
        self._read(stream, 0, most=2)
        found, expected = self._read(stream, 1), self._whole(1)
        assert found == expected, (
            f"An epoch starts at its start. Received {found}, expected {expected}."
        )

    def test_what_is_read_once_says_so(self) -> None:
        """``once`` is True for a generator, whose second epoch is a ValueError."""
        assert self._open().once is False, (
            "once is False for a loader that can be read again. Received True."
        )
        stream = self._open(loader=(batch for batch in self.unsized_loader()))
        assert stream.once is True, "once is True for a generator. Received False."
        assert self._read(stream, 0), "A generator can be read once. Received nothing."
        raised_by(
            ValueError,
            lambda: self._read(stream, 1),
            "A second epoch of what can be read once is refused",
        )

    def test_a_stream_can_be_closed_at_any_time(self) -> None:
        """``close`` works before, within and after an epoch, and twice."""
        for batches in (0, 2, None):
            stream = self._open()
            if batches != 0:
                self._read(stream, 0, most=batches)
            stream.close()
            stream.close()

    # Position

    def test_the_position_counts_what_was_handed_out(self) -> None:
        """``state_dict`` has ``epoch`` and ``batch``, as of the batch handed out last."""
        stream = self._open()
        for epoch in range(2):
            for count, _ in enumerate(stream.epoch(epoch), start=1):
                state = stream.state_dict()
                found = (state["epoch"], state["batch"])
                assert found == (epoch, count), (
                    "A position has the epoch and the batches handed out of it. Received "
                    f"{found}, expected {(epoch, count)}."
                )

    def test_a_position_is_not_changed_by_reading_on(self) -> None:
        """What ``state_dict`` returned stays as it was."""
        stream = self._open()
        batches = stream.epoch(0)
        next(batches)
        state = stream.state_dict()
        before = copy.deepcopy(state)
        next(batches)
        assert state == before, f"A position is a copy. Received {state}, expected {before}."

    def test_a_position_within_an_epoch_is_gone_on_from(self) -> None:
        """Another stream goes on after the batches that were handed out."""
        for epoch in (0, 2):
            expected = self._whole(epoch)
            for count in (1, len(expected) - 1):
                first = self._open()
                self._read(first, epoch, most=count)
                second = self._open()
                second.load_state_dict(copy.deepcopy(first.state_dict()))
                found = self._read(second, epoch)
                assert found == expected[count:], (
                    f"After {count} batches of epoch {epoch} come the others. Received {found}, "
                    f"expected {expected[count:]}."
                )
                state = second.state_dict()
                assert (state["epoch"], state["batch"]) == (epoch, len(expected)), (
                    f"The position goes on, too. Received {state} after {len(expected)} batches."
                )

    def test_after_a_restored_epoch_the_next_is_whole(self) -> None:
        """A restored position is that of one epoch, gone on from once."""
        first = self._open()
        self._read(first, 0, most=2)
        second = self._open()
        second.load_state_dict(first.state_dict())
        self._read(second, 0)
        found, expected = self._read(second, 1), self._whole(1)
        assert found == expected, (
            f"The epoch after a restored one is whole. Received {found}, expected {expected}."
        )

    def test_a_position_between_epochs_is_gone_on_from(self) -> None:
        """From the end of an epoch the next one is read whole."""
        first = self._open()
        for epoch in range(2):
            self._read(first, epoch)
        second = self._open()
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        found, expected = self._read(second, 2), self._whole(2)
        assert found == expected, (
            f"After a whole epoch comes the next. Received {found}, expected {expected}."
        )

    def test_a_fingerprint_is_data_that_tells_loaders_apart(self) -> None:
        """``fingerprint``, where there is one, is plain data, alike for equal loaders."""
        one, other = (getattr(self._open(), "fingerprint", None) for _ in range(2))
        if one is None:
            return
        assert isinstance(one, Mapping), f"A fingerprint is a mapping. Received {type(one)}."
        assert one == other, f"Equal loaders have one fingerprint. Received {one} and {other}."
        try:
            json.dumps(dict(one))
        except (TypeError, ValueError) as error:
            raise AssertionError(f"A fingerprint is plain data. Received {one!r}.") from error

    # Several ranks

    def test_ranks_share_an_evaluation(self) -> None:
        """Each sample is read by one rank, whatever their number: none is missing, none twice."""
        phases: tuple[Phase, ...] = ("validate", "test", "predict")
        for phase, world_size in product(phases, (2, 3)):
            for epoch, ranks in enumerate(self._shared(world_size, phase)):
                expected = Counter(_samples_in(self._whole(epoch, "validate")))
                found = Counter(sample for rank in ranks for sample in _samples_in(rank))
                assert found == expected, (
                    f"{world_size} ranks read every sample of epoch {epoch} of a {phase} loader "
                    f"once. Missing {list((expected - found).elements())}, too many "
                    f"{list((found - expected).elements())}."
                )

    def test_ranks_share_the_training(self) -> None:
        """All ranks get as many batches; at most a batch for each rank is repeated or left out."""
        for world_size in (2, 3):
            for epoch, ranks in enumerate(self._shared(world_size, "train")):
                self._check_training(epoch, ranks)

    def test_ranks_go_on_from_the_position_of_rank_0(self) -> None:
        """A state holds one position for all ranks, from which each goes on in its own share."""

        def resume(world: World) -> None:
            expected = self._read(self._open(world=world), 0)
            first, second = self._open(world=world), self._open(world=world)
            self._read(first, 0, most=1)
            second.load_state_dict(world.broadcast(copy.deepcopy(first.state_dict())))
            found = self._read(second, 0)
            assert found == expected[1:], (
                f"Every rank goes on from rank 0's position. Rank {world.rank} received {found}, "
                f"expected {expected[1:]}."
            )

        for world_size in (2, 3):
            in_ranks(world_size, resume)

    def _check_training(self, epoch: int, ranks: Sequence[list[list[Any]]]) -> None:
        """See that ranks share an epoch of training."""
        whole, world_size = self._whole(epoch), len(ranks)
        expected, largest = Counter(_samples_in(whole)), max(map(len, whole))
        counts = [len(rank) for rank in ranks]
        assert len(set(counts)) == 1, (
            f"All ranks take the same number of training steps. Received {counts} batches."
        )
        assert counts[0] > 0, "Ranks have something to train on. Received no batch."
        found = Counter(sample for rank in ranks for sample in _samples_in(rank))
        differing = ((found - expected) + (expected - found)).total()
        assert differing <= world_size * largest, (
            f"{world_size} ranks share the samples of an epoch. Missing "
            f"{list((expected - found).elements())}, too many "
            f"{list((found - expected).elements())}."
        )

    def _shared(self, world_size: int, phase: Phase) -> list[tuple[list[list[Any]], ...]]:
        """Return what each rank reads, by epoch; see that it knows the length and the end."""

        def read(world: World) -> list[list[list[Any]]]:
            stream = self._open(phase, world=world)
            found: list[list[list[Any]]] = []
            for epoch in range(2):
                length = stream.length
                batches, told = [], []
                for batch in stream.epoch(epoch):
                    batches.append(self.samples(batch))
                    told.append(bool(stream.is_last))
                found.append(batches)
                assert length in (None, len(batches)), (
                    "length counts this rank's batches, or is None. Received "
                    f"{length} of {len(batches)}."
                )
                assert told == [False] * (len(batches) - 1) + [True] * bool(batches), (
                    "is_last is True after the last batch of this rank alone. Rank "
                    f"{world.rank} received {told}."
                )
            stream.close()
            return found

        return list(zip(*in_ranks(world_size, read), strict=True))


def _samples_in(batches: list[list[Any]]) -> list[Any]:
    return [sample for batch in batches for sample in batch]
