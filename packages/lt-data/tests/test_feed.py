from dataclasses import dataclass
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lt_data import CombinedLoader, CombinedStream, LoaderStream, TorchFeed


@dataclass
class Processes:
    rank: int = 0
    world_size: int = 1

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj


def test_a_loader_is_opened() -> None:
    stream = TorchFeed().open(DataLoader([1, 2, 3]), phase="train", world=Processes())
    assert isinstance(stream, LoaderStream)
    assert stream.length == 3
    assert [batch.tolist() for batch in stream.epoch(0)] == [[1], [2], [3]]
    stream.close()


def test_the_phase_is_named() -> None:
    with pytest.raises(TypeError, match="A predict loader is an iterable"):
        TorchFeed().open("x", phase="predict", world=Processes())
    stream = TorchFeed().open(iter([1]), phase="validate", world=Processes())
    list(stream.epoch(0))
    with pytest.raises(ValueError, match="A validate loader"):
        stream.epoch(0)


@pytest.mark.parametrize(
    ("loaders", "batches"),
    [
        ({"a": [1, 2, 3], "b": [4]}, [{"a": 1, "b": 4}, {"a": 2, "b": 4}, {"a": 3, "b": 4}]),
        ([range(1), range(2)], [[0, 0], [0, 1]]),
        ([DataLoader([5])], [[5]]),
        (CombinedLoader([range(1), range(2)], "max_size"), [[0, 0], [None, 1]]),
    ],
)
def test_a_collection_of_loaders_is_read_as_one(loaders: Any, batches: list[Any]) -> None:
    stream = TorchFeed().open(loaders, phase="train", world=Processes())

    assert isinstance(stream, CombinedStream)
    assert list(stream.epoch(0)) == batches
    assert stream.length == len(batches)


def test_a_list_of_batches_is_one_loader() -> None:
    stream = TorchFeed().open([[1, 2], [3]], phase="train", world=Processes())

    assert isinstance(stream, LoaderStream)
    assert list(stream.epoch(0)) == [[1, 2], [3]]


def test_a_collection_without_loaders_is_refused() -> None:
    with pytest.raises(ValueError, match=r"holds at least one loader\. Received \{\}"):
        TorchFeed().open({}, phase="train", world=Processes())


def test_a_loader_can_be_put_in_order() -> None:
    ordered = TorchFeed().in_order(DataLoader([1, 2, 3], shuffle=True))

    assert [int(batch) for batch in ordered] == [1, 2, 3]
