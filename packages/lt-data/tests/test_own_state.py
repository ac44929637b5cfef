"""Datasets with a state of their own: one that goes back to its start, and one with samples."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lt_data import CombinedLoader, TorchFeed
from lt_data.opening import Alone
from lt_data.own_state import position_keeper, state_of_samples


class Returning(IterableDataset[int]):
    """A stream that stands at its start again as soon as it has come to its end."""

    def __init__(self, size: int) -> None:
        self.size, self.at, self.read = size, 0, 0

    def __iter__(self) -> Iterator[int]:
        while self.at < self.size:
            self.at += 1
            self.read += 1
            yield self.at - 1
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


class Counting(Dataset[float]):
    """A curriculum: what a sample is depends on how many were given before it."""

    def __init__(self, size: int = 8) -> None:
        self.size, self.given = size, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[int, int]:
        self.given += 1
        return index, self.given

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.given = state["given"]


class OwnLoader(DataLoader[Any]):
    """A DataLoader that is not read in an order of ours, as it has an ``__iter__`` of its own."""

    def __iter__(self) -> Any:
        return super().__iter__()


def opened(loader: Any, **words: Any) -> Any:
    return TorchFeed(**words).open(loader, phase="train", world=Alone())


def plain(batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.tolist()
    if isinstance(batch, dict):
        return {key: plain(part) for key, part in batch.items()}
    return [plain(part) for part in batch] if isinstance(batch, list) else batch


def read(batches: Any) -> list[Any]:
    return [plain(batch) for batch in batches]


@pytest.mark.parametrize("order", ["seeded", "torch"])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [8, 10])
def test_a_run_that_ends_with_an_epoch_does_not_repeat_it(
    size: int, drop_last: bool, order: str
) -> None:
    def stream() -> Any:
        return opened(DataLoader(Returning(size), batch_size=4, drop_last=drop_last), order=order)

    reference = stream()
    whole = [read(reference.epoch(0)), read(reference.epoch(1))]
    assert whole[0] == whole[1]
    for cut in range(len(whole[0]) + 1):
        first = stream()
        seen = read(islice(first.epoch(0), cut))
        second = stream()
        second.load_state_dict(first.state_dict())
        assert seen + read(second.epoch(0)) == whole[0]
        assert read(second.epoch(1)) == whole[1]


def test_no_state_is_taken_by_reading_ahead() -> None:
    dataset = Returning(10)
    stream = opened(DataLoader(dataset, batch_size=4))
    for number, _ in enumerate(stream.epoch(0), start=1):
        assert stream.state_dict()["loader_ended"] == (number == 3)
        assert dataset.read == min(4 * number, 10)


@pytest.mark.parametrize("mode", ["max_size_cycle", "max_size", "min_size"])
def test_nor_does_one_of_several_loaders(mode: str) -> None:
    def stream() -> Any:
        loaders = {
            "a": DataLoader(Returning(10), batch_size=4),
            "b": DataLoader(Returning(9), batch_size=2),
        }
        return opened(CombinedLoader(loaders, mode))

    reference = stream()
    whole = [read(reference.epoch(0)), read(reference.epoch(1))]
    for cut in range(len(whole[0]) + 1):
        first = stream()
        seen = read(islice(first.epoch(0), cut))
        second = stream()
        second.load_state_dict(first.state_dict())
        assert seen + read(second.epoch(0)) == whole[0], cut
        assert read(second.epoch(1)) == whole[1], cut


@pytest.mark.parametrize("kind", [DataLoader, OwnLoader])
@pytest.mark.parametrize("order", ["seeded", "torch"])
def test_the_state_of_samples_goes_on_beside_the_position(order: str, kind: Any) -> None:
    def stream() -> Any:
        return opened(kind(Counting(), batch_size=2), order=order)

    reference = stream()
    whole = [read(reference.epoch(epoch)) for epoch in range(3)]
    assert whole[1][0] == [[0, 1], [9, 10]]
    for cut in range(5):
        first = stream()
        read(first.epoch(0))
        seen = read(islice(first.epoch(1), cut))
        position = first.state_dict()
        assert position["loader"] == {"given": 8 + 2 * cut}
        second = stream()
        second.load_state_dict(position)
        assert seen + read(second.epoch(1)) == whole[1]
        assert read(second.epoch(2)) == whole[2]


def test_between_epochs_the_state_of_samples_goes_on_too() -> None:
    for order in ("seeded", "torch"):
        first = opened(DataLoader(Counting(), batch_size=2), order=order)
        read(first.epoch(0))
        second = opened(DataLoader(Counting(), batch_size=2), order=order)
        second.load_state_dict(first.state_dict())
        assert read(second.epoch(1)) == read(first.epoch(1))


def test_later_samples_leave_a_state_that_was_taken_alone() -> None:
    class Learning(Counting):
        def state_dict(self) -> dict[str, Any]:
            return self.__dict__

    stream = opened(DataLoader(Learning(), batch_size=2))
    batches = stream.epoch(0)
    next(batches)
    position = stream.state_dict()
    next(batches)
    assert position["loader"]["given"] == 2


def test_a_position_without_a_state_is_gone_on_from() -> None:
    """Saved before there was one, or by a loader with workers."""
    stream = opened(DataLoader(Counting(), batch_size=2))
    stream.load_state_dict({"epoch": 0, "batch": 2, "position": 4, "unit": "samples", "seed": 1})
    assert [keys for keys, _ in read(stream.epoch(0))] == [[4, 5], [6, 7]]


def test_who_keeps_what() -> None:
    samples, stream = Counting(), Returning(3)

    class Wrapping:
        """A loader of the user's that has a dataset, without being a DataLoader."""

        def __init__(self, dataset: Any) -> None:
            self.dataset = dataset

    for kind in (DataLoader, Wrapping):
        assert position_keeper(kind(stream)) is stream
        assert state_of_samples(kind(stream)) is None
        assert position_keeper(kind(samples)) is None
        assert state_of_samples(kind(samples)) is samples
    for dataset in (samples, stream):
        away = DataLoader(dataset, num_workers=1)
        assert position_keeper(away) is state_of_samples(away) is None
    assert state_of_samples(DataLoader([1, 2])) is position_keeper([1, 2]) is None
    with pytest.raises(ValueError, match="Received a OwnLoader that can't do that"):
        opened(OwnLoader(samples), on_unseekable="error")
