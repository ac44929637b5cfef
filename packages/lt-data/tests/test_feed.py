from dataclasses import dataclass

import pytest
from torch.utils.data import DataLoader

from lt_data import LoaderStream, TorchFeed


@dataclass
class Processes:
    world_size: int = 1


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


def test_several_processes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"feeds one process\. Received world_size=2"):
        TorchFeed().open([1], phase="train", world=Processes(2))
