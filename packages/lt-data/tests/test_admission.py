from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    TensorDataset,
)

from lt_data.admission import check_loader


class Numbers(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 4


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


class Duck:
    """Looks like a map-style dataset, without being one of torch's."""

    def __getitem__(self, index: int) -> int:
        return index


class DuckFetchingMany(Duck):
    def __getitems__(self, indices: list[int]) -> list[int]:
        return indices

    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


class DataModule:
    def train_dataloader(self) -> Any:
        return DataLoader(Numbers())


class Own:
    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Numbers()),
        DataLoader(Stream(), batch_size=None),
        [torch.ones(2)],
        (1, 2),
        range(3),
        Own(),
        (batch for batch in [1]),
        zip([1], [2], strict=True),
    ],
)
def test_what_yields_batches_passes(loader: Any) -> None:
    check_loader(loader, phase="train")


@pytest.mark.parametrize(
    ("loader", "received", "remedy"),
    [
        (Numbers(), "the dataset Numbers", "DataLoader(dataset, batch_size=...)."),
        (TensorDataset(torch.ones(2)), "the dataset TensorDataset", "DataLoader(dataset"),
        (Stream(), "the dataset Stream, which yields samples", "or batch_size=None"),
        (Duck(), "an object of type Duck", "wrap it in a DataLoader"),
        (DuckFetchingMany(), "an object of type DuckFetchingMany", "wrap it in a DataLoader"),
        (RandomSampler(Numbers()), "the sampler RandomSampler", "sampler=..."),
        (BatchSampler(range(4), 2, False), "the sampler BatchSampler", "batch_sampler=..."),
        (DataLoader, "the class DataLoader", "DataLoader(...)"),
        (Own, "the class Own", "Own(...)"),
        ("train", "'train'", "Pass the DataLoader itself"),
        (b"train", "b'train'", "Pass the DataLoader itself"),
        (torch.ones(4, 2), "an object of type Tensor", "pass list(...)"),
        ({"a": [1]}, "an object of type dict", "pass CombinedLoader(...) of it"),
        (DataModule(), "an object of type DataModule", "datamodule=..."),
        (DataModule().train_dataloader, "an object of type method", "Call it"),
        (None, "None", "Pass a DataLoader or a list of batches"),
        (5, "5", "Pass a DataLoader or a list of batches"),
        (object(), "an object of type object", "Pass a DataLoader or a list of batches"),
    ],
)
def test_what_does_not_is_refused(loader: Any, received: str, remedy: str) -> None:
    with pytest.raises(TypeError) as error:
        check_loader(loader, phase="test")
    message = str(error.value)
    assert message.startswith(f"A test loader is an iterable of batches. Received {received}")
    assert remedy in message


def test_an_array_is_no_loader() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(TypeError, match="Received an object of type ndarray"):
        check_loader(numpy.ones((4, 2)), phase="train")


def test_nothing_is_read() -> None:
    class Guarded:
        def __iter__(self) -> Iterator[int]:
            raise AssertionError("was read")

        def __len__(self) -> int:
            raise AssertionError("was measured")

    check_loader(Guarded(), phase="train")
