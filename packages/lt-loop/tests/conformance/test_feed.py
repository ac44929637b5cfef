"""The kit of the port Feed passes what keeps every promise, and fails what breaks one."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from broken import Broken, Shelf, failing

from lt_loop.conformance import FeedConformance, promises
from lt_loop.several import is_collection
from lt_loop.solo import CountedIterable, IterableFeed


class TestIterable(FeedConformance):
    """The default, which reads for one process."""

    make = staticmethod(IterableFeed)
    # It refuses to share: another feed can.
    test_ranks_share_an_evaluation = None
    test_ranks_share_the_training = None
    test_ranks_go_on_from_the_position_of_rank_0 = None


class Shuffled:
    """A loader whose order is a function of the epoch."""

    def __init__(self, batches: Any) -> None:
        self.batches, self.epoch = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        yield from random.Random(self.epoch).sample(self.batches, len(self.batches))


class Shared:
    """The batches of one rank: every so-manieth of them; of training, as many for each."""

    def __init__(self, loader: Any, phase: str, world: Any) -> None:
        self.loader, self.even = loader, phase == "train"
        self.rank, self.world_size = world.rank, world.world_size
        self.set_epoch = getattr(loader, "set_epoch", lambda _epoch: None)

    def __len__(self) -> int:
        whole = len(self.loader)
        return whole // self.world_size + (not self.even and self.rank < whole % self.world_size)

    def __iter__(self) -> Iterator[Any]:
        row: list[Any] = []
        for batch in self.loader:
            row.append(batch)
            if len(row) == self.world_size:
                yield row[self.rank]
                row.clear()
        if not self.even and self.rank < len(row):
            yield row[self.rank]


class PlainStream(CountedIterable):
    """Also tells the loader the epoch."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"length": self.length}

    def epoch(self, index: int) -> Iterator[Any]:
        if tell := getattr(self._loader, "set_epoch", None):
            tell(index)
        return super().epoch(index)


class PlainFeed(IterableFeed):
    stream: type = PlainStream

    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        if is_collection(loader):
            raise LookupError("One at a time.")
        super().open(loader, phase=phase, world=type("Alone", (), {"world_size": 1}))
        return self.stream(loader if world.world_size == 1 else Shared(loader, phase, world))

    def in_order(self, loader: Any) -> Any:
        return loader.batches if isinstance(loader, Shuffled) else loader


class PlainKit(FeedConformance):
    def make(self) -> Any:
        return PlainFeed()

    def loader(self) -> Any:
        return Shuffled(super().loader())


class TestPlain(PlainKit):
    """All of it, in another order each epoch."""


shelf = Shelf()


def of(stream: type) -> type:
    """A feed that opens such streams."""
    return type(stream.__name__, (PlainFeed,), {"stream": stream})


def breaks(*names: str) -> Any:
    """As on the shelf, for a class of streams."""
    return lambda stream: shelf.breaks(*names)(of(stream)) and stream


@shelf.breaks("what_is_no_loader_is_refused")
class OpensAnything(PlainFeed):
    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        if loader is None:
            return PlainStream([])
        return super().open(loader, phase=phase, world=world)


@shelf.breaks("several_loaders_are_read_as_one_or_refused")
class ReadsTheKeysOfACollection(PlainFeed):
    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        if is_collection(loader):
            return PlainStream(loader)
        return super().open(loader, phase=phase, world=world)


@shelf.breaks("a_loader_in_order_has_the_same_samples")
class LeavesTheShuffling(PlainFeed):
    def in_order(self, loader: Any) -> Any:
        return loader


@breaks("length_is_that_of_an_epoch")
class CountsOneMore(PlainStream):
    @property
    def length(self) -> Any:
        return (
            99 if CountedIterable.length.fget(self) is None else CountedIterable.length.fget(self)
        )

    @property
    def is_last(self) -> bool:
        if self.length != 99:
            return bool(self._batch == self.length)
        self._ahead = self._ahead or list(next_of(self._reading))
        return not self._ahead


def next_of(iterator: Iterator[Any]) -> Iterator[Any]:
    for item in iterator:
        yield item
        return


@breaks(
    "the_last_batch_is_known_as_the_last",
    "ranks_share_an_evaluation",
    "ranks_share_the_training",
)
class KnowsNoLast(PlainStream):
    is_last = False


@breaks("asking_for_the_last_moves_nothing")
class LosesTheBatchReadAhead(PlainStream):
    @property
    def is_last(self) -> bool:
        return self._batch == self.length if self.length else not list(next_of(self._reading))


@breaks("an_epoch_that_was_left_is_begun_anew")
class GoesOnWithAnEpochThatWasLeft(PlainStream):
    def epoch(self, index: int) -> Iterator[Any]:
        left = self._read and not self.once and 0 < self._batch < (self.length or 0)
        return self._reading if left and not self._resumed else super().epoch(index)


@breaks(
    "two_streams_of_equal_loaders_read_the_same",
    # and what compares a later epoch with one that is read alone:
    "an_epoch_that_was_left_is_begun_anew",
    "after_a_restored_epoch_the_next_is_whole",
)
class CountsItsEpochsItself(PlainStream):
    count = 0

    def epoch(self, index: int) -> Iterator[Any]:
        batches = super().epoch(index)
        if isinstance(self._loader, Shuffled):
            self._loader.set_epoch(self.count)
        self.count += 1
        return batches


@breaks("what_is_read_once_says_so")
class ReadsNothingTheSecondTime(PlainStream):
    def epoch(self, index: int) -> Iterator[Any]:
        self._read = False
        return super().epoch(index)


@breaks("a_stream_can_be_closed_at_any_time")
class ClosesOnce(PlainStream):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("It is closed.")
        self.closed = True


@breaks(
    "the_position_counts_what_was_handed_out",
    "a_position_within_an_epoch_is_gone_on_from",  # and so does its position
)
class ForgetsTheEpoch(PlainStream):
    def state_dict(self) -> Any:
        return {"epoch": 0, "batch": super().state_dict()["batch"], "real": self._epoch}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({**state, "epoch": state["real"]})


@breaks("a_position_is_not_changed_by_reading_on")
class HandsOutItsPosition(PlainStream):
    def state_dict(self) -> Any:
        self.position = vars(self).get("position", {})
        self.position.update(super().state_dict())
        return self.position

    def epoch(self, index: int) -> Iterator[Any]:
        for batch in super().epoch(index):
            yield self.state_dict() and batch


@breaks("a_position_within_an_epoch_is_gone_on_from", "ranks_go_on_from_the_position_of_rank_0")
class RepeatsABatch(PlainStream):
    def load_state_dict(self, state: Any) -> None:
        whole = state["batch"] == self.length
        super().load_state_dict({**state, "batch": state["batch"] - (not whole)})


@breaks("after_a_restored_epoch_the_next_is_whole")
class SkipsAgain(PlainStream):
    skips = 0

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.skips = state["batch"] if state["batch"] < self.length else 0

    def epoch(self, index: int) -> Iterator[Any]:
        restored = self._resumed
        batches = list(super().epoch(index))
        if restored or not self.skips:
            yield from self._again(batches)
        else:
            yield from batches[self.skips :]

    def _again(self, batches: list[Any]) -> Iterator[Any]:
        last = self._batch
        for number, batch in enumerate(batches, start=last - len(batches) + 1):
            self._batch = number
            yield batch

    @property
    def is_last(self) -> bool:
        return self._batch == (self.length or 7)


@breaks("a_position_between_epochs_is_gone_on_from")
class SkipsTheEpochAfterAWholeOne(PlainStream):
    whole = False

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.whole = state["batch"] == self.length

    def epoch(self, index: int) -> Iterator[Any]:
        return iter(()) if self.whole else super().epoch(index)


@breaks("a_fingerprint_is_data_that_tells_loaders_apart")
class HasAnObjectAsFingerprint(PlainStream):
    fingerprint: Any = {"loader": {1, 2}}  # noqa: RUF012


@shelf.breaks("an_epoch_has_every_sample_once")
class LeavesTheLastOutOfATest(PlainFeed):
    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        loader = Shuffled(loader.batches[:-1]) if phase == "predict" and alone(world) else loader
        return super().open(loader, phase=phase, world=world)


def alone(world: Any) -> bool:
    return bool(world.world_size == 1)


@shelf.breaks("ranks_share_an_evaluation")
class EvensOutAnEvaluation(PlainFeed):
    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        return super().open(loader, phase=phase if alone(world) else "train", world=world)


@shelf.breaks("ranks_share_an_evaluation", "ranks_share_the_training")
class ReadsAllOnEveryRank(PlainFeed):
    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        return super().open(loader, phase=phase, world=type("Alone", (), {"world_size": 1}))


@shelf.breaks("ranks_share_the_training")
class SharesTheTrainingUnevenly(PlainFeed):
    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        return super().open(loader, phase=phase if alone(world) else "test", world=world)


@breaks("ranks_share_an_evaluation", "ranks_share_the_training")
class TakesTheLastOfAllForItsOwn(PlainStream):
    @property
    def is_last(self) -> bool:
        if not isinstance(self._loader, Shared):
            return super().is_last
        return self._batch * self._loader.world_size >= len(self._loader.loader) + 1


class OfOneRank(PlainStream):
    """Takes no other rank's position."""

    def state_dict(self) -> Any:
        return {**super().state_dict(), "rank": getattr(self._loader, "rank", 0)}

    def load_state_dict(self, state: Any) -> None:
        if state["rank"] != getattr(self._loader, "rank", 0):
            raise ValueError("The position of another rank.")
        super().load_state_dict(state)


breaks("ranks_go_on_from_the_position_of_rank_0")(OfOneRank)


@pytest.mark.parametrize("broken", shelf.all, ids=lambda broken: broken.make.__name__)
def test_what_breaks_a_promise_fails_its_test(broken: Broken) -> None:
    found = failing(PlainKit, broken.make)
    assert set(found) == broken.fails, found


def test_what_lacks_a_method_is_no_feed() -> None:
    assert "test_it_has_what_the_port_has" in failing(PlainKit, object)


def test_every_other_promise_can_be_broken() -> None:
    assert set(promises(FeedConformance)) == {
        "test_it_has_what_the_port_has",
        *shelf.broken_promises,
    }
