"""Loaders that are read in an order of their own: with a state of theirs, and without."""

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lt_data import CombinedStream, LoaderStream, TorchFeed
from lt_data.opening import Alone
from lt_data.settings import Settings


class Remembering(IterableDataset[int]):
    """A stream of samples with a state, as those of Hugging Face."""

    def __init__(self, size: int) -> None:
        self.size, self.epoch, self.read = size, 0, 0
        self.state = {"epoch": 0, "at": 0}
        self.starting = dict(self.state)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        start = self.starting["at"] if self.starting["epoch"] == self.epoch else 0
        self.starting = {"epoch": -1}
        for number in range(start, self.size):
            self.read += 1
            self.state = {"epoch": self.epoch, "at": number + 1}
            yield 100 * self.epoch + number

    def state_dict(self) -> dict[str, int]:
        return self.state

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.starting = state


class Own:
    """A loader of the user's with a state that outlives the epochs.

    At the end of one it stands at the start of the next: that the end was reached, it doesn't know.
    """

    def __init__(self, size: int, *, measured: bool) -> None:
        self.size, self.at, self.epoch = size, 0, -1
        if measured:
            self.__class__ = Measured

    def __iter__(self) -> Iterator[int]:
        if self.at in (0, self.size):
            self.epoch, self.at = self.epoch + 1, 0
        while self.at < self.size:
            self.at += 1
            yield 100 * self.epoch + self.at - 1

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at, self.epoch = state["at"], state["epoch"]


class Measured(Own):
    def __len__(self) -> int:
        return self.size


def opened(loader: Any, **words: Any) -> LoaderStream:
    return LoaderStream(loader, phase="train", settings=Settings(**words))


def plain(batches: Any) -> list[Any]:
    return [batch.tolist() if isinstance(batch, torch.Tensor) else batch for batch in batches]


@settings(deadline=None)
@given(
    kind=st.sampled_from(["dataset", "own", "own, measured"]),
    size=st.integers(1, 9),
    cut=st.integers(0, 10),
    world=st.integers(1, 2),
    asked=st.booleans(),
)
def test_a_state_of_its_own_is_given_back(
    kind: str, size: int, cut: int, world: int, asked: bool
) -> None:
    def new() -> Any:
        if kind == "dataset":
            return DataLoader(Remembering(size), batch_size=2)
        return Own(size, measured="measured" in kind)

    def stream(loader: Any) -> Any:
        processes = Alone()
        processes.world_size = world
        return TorchFeed().open(loader, phase="train", world=processes)

    reference = stream(new())
    whole = [plain(reference.epoch(epoch)) for epoch in range(3)]
    first = stream(new())
    plain(first.epoch(0))
    seen = plain(islice(first.epoch(1), cut))
    if asked or kind == "own":
        assert first.is_last == (0 < len(seen) == len(whole[1]))
    position = first.state_dict()
    loader = new()
    second = stream(loader)
    second.load_state_dict(position)
    assert second.state_dict() == position
    batches = second.epoch(1)
    assert second.state_dict()["batch"] == len(seen)
    assert seen + plain(batches) == whole[1]
    assert plain(second.epoch(2)) == whole[2]


def test_the_state_is_that_of_the_batches_handed_out() -> None:
    dataset = Remembering(8)
    stream = opened(DataLoader(dataset, batch_size=2))
    batches = stream.epoch(0)
    next(batches)
    assert dataset.state["at"] == 2
    assert not stream.is_last
    assert dataset.state["at"] == 4, "one is read ahead to know"
    assert stream.state_dict()["loader"] == {"epoch": 0, "at": 2}
    position = stream.state_dict()
    stream.close()
    assert stream.state_dict() == position

    other = Remembering(8)
    second = opened(DataLoader(other, batch_size=2))
    second.load_state_dict(position)
    assert plain(second.epoch(0)) == [[2, 3], [4, 5], [6, 7]]
    assert other.read == 6, "what was seen is not read again"


@pytest.mark.parametrize(("ended", "measured"), [(True, True), (True, False), (False, True)])
def test_between_epochs_the_next_one_begins(ended: bool, measured: bool) -> None:
    """Whether the loader was asked for more after its last batch, as no engine need do, or not."""

    def run(stream: LoaderStream, epoch: int) -> list[Any]:
        batches = stream.epoch(epoch)
        return plain(batches if ended else islice(batches, 3))

    loader = Own(3, measured=measured)
    first = opened(loader)
    run(first, 0), run(first, 1)
    position = first.state_dict()
    assert (position["epoch"], position["batch"]) == (1, 3)
    expected = run(first, 2)

    second = opened(Own(3, measured=measured))
    second.load_state_dict(position)
    assert run(second, 2) == expected == [200, 201, 202]


def test_an_epoch_cut_short_is_not_gone_on_from_in_the_next() -> None:
    def loader() -> Any:
        return DataLoader(Remembering(6), batch_size=1)

    first = opened(loader())
    list(islice(first.epoch(0), 2))
    second = opened(loader())
    second.load_state_dict(first.state_dict())
    assert plain(second.epoch(1)) == [[100 + number] for number in range(6)]


@pytest.mark.parametrize("asked", [True, False])
def test_combined_loaders_keep_each_its_own_state(asked: bool) -> None:
    def stream() -> CombinedStream:
        loaders = {
            "a": DataLoader(Remembering(7), batch_size=2),
            "b": DataLoader(Remembering(3), batch_size=None),
        }
        combined = TorchFeed().open(loaders, phase="train", world=Alone())
        assert isinstance(combined, CombinedStream)
        return combined

    def values(batches: Any) -> list[Any]:
        return [(batch["a"].tolist(), batch["b"]) for batch in batches]

    whole = values(stream().epoch(0))
    assert len(whole) == 4
    for cut in range(5):
        first = stream()
        batches = first.epoch(0)
        seen = values(islice(batches, cut))
        if asked:
            assert first.is_last == (cut == 4)
        second = stream()
        second.load_state_dict(first.state_dict())
        assert seen + values(second.epoch(0)) == whole


class Squares(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index * index

    def __len__(self) -> int:
        return 12


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("cut", [0, 2, 4])
def test_the_stateful_loader_of_torchdata_goes_on(workers: int, cut: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def stream() -> LoaderStream:
        torch.manual_seed(7)
        loader = stateful.StatefulDataLoader(Squares(), 3, shuffle=True, num_workers=workers)
        return opened(loader)

    reference = stream()
    whole = [plain(reference.epoch(epoch)) for epoch in range(3)]
    reference.close()
    assert whole[1] != whole[2]
    first = stream()
    list(islice(first.epoch(0), 4))  # as an engine does that knows the length
    seen = plain(islice(first.epoch(1), cut))
    position = first.state_dict()
    first.close()

    second = stream()
    torch.manual_seed(8)
    second.load_state_dict(position)
    expected = torch.get_rng_state()
    assert seen + plain(second.epoch(1)) == whole[1]
    assert plain(second.epoch(2)) == whole[2]
    assert torch.equal(torch.get_rng_state(), expected)
    second.close()


# Without a state


class Unknown:
    def __iter__(self) -> Iterator[int]:
        return iter(range(5))


class OwnLoader(DataLoader[Any]):
    """A DataLoader that is read otherwise than torch's."""

    def __iter__(self) -> Any:
        return iter([torch.tensor([1]), torch.tensor([2]), torch.tensor([3])])


@pytest.mark.parametrize("loader", [Unknown(), OwnLoader(Squares()), iter(range(5))])
def test_what_can_not_be_sought_in_is_refused_if_asked(loader: Any) -> None:
    feed = TorchFeed(on_unseekable="error")
    with pytest.raises(
        ValueError, match=r"With on_unseekable='error' .* Received a \w+ that can't"
    ):
        feed.open(loader, phase="train", world=Alone())
    assert feed.open(loader, phase="validate", world=Alone()) is not None
    for other in ([1], DataLoader(Squares()), Own(3, measured=False)):
        feed.open(other, phase="train", world=Alone())
    with pytest.raises(ValueError, match=r"Received a Unknown\['b'\] that can't"):
        feed.open({"a": [1], "b": Unknown()}, phase="train", world=Alone())
    with pytest.raises(ValueError, match="Received a DataLoader that can't do that"):
        TorchFeed(on_unseekable="error", order="torch").open(
            DataLoader(Squares()), phase="train", world=Alone()
        )


def test_it_is_read_up_to_the_position_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for loader, rest in ((Unknown(), [2, 3, 4]), (OwnLoader(Squares()), [[3]])):
        stream = opened(loader)
        for _ in range(2):
            stream.load_state_dict({"epoch": 0, "batch": 2})
            assert plain(stream.epoch(0)) == rest
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        caplog.clear()


def test_one_that_fails_while_read_ahead_fails_in_its_turn() -> None:
    def failing() -> Iterator[int]:
        yield from range(2)
        raise OSError("no more")

    stream = opened(failing())
    batches = stream.epoch(0)
    assert [next(batches), next(batches)] == [0, 1]
    assert not stream.is_last
    assert not stream.is_last
    assert stream.state_dict()["batch"] == 2
    with pytest.raises(OSError, match="no more"):
        next(batches)


def test_a_list_of_batches_is_passed_on_untouched() -> None:
    given = [object(), object()]
    assert list(map(id, opened(given).epoch(0))) == list(map(id, given))


def test_the_fingerprint_is_plain() -> None:
    found = opened(DataLoader(Remembering(4), batch_size=2), seed=3).fingerprint
    expected = {
        "loader": "DataLoader",
        "length": None,
        "batch_size": 2,
        "order": "seeded",
        "seed": 3,
    }
    assert found == expected
    combined = TorchFeed().open({"a": [1], "b": [2, 3]}, phase="train", world=Alone())
    assert combined.fingerprint["mode"] == "max_size_cycle"
    assert combined.fingerprint["loaders"]["['b']"]["length"] == 2
