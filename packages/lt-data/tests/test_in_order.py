"""The same samples in the same batches, however often a loader is read."""

import gc
import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lt_data import CombinedLoader
from lt_data.in_order import in_order


class Numbers(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 10


class Endless(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(6))


class Backwards(Sampler[int]):
    """A sampler of the user's own."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(9, -1, -1))


def read(loader: Any) -> list[Any]:
    return [batch.tolist() for batch in loader]


WHOLE = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


@pytest.mark.parametrize(
    ("words", "batches"),
    [
        ({"shuffle": True}, WHOLE),
        ({"shuffle": True, "generator": torch.Generator()}, WHOLE),
        ({"sampler": RandomSampler(Numbers(), replacement=True, num_samples=4)}, WHOLE),
        ({"sampler": WeightedRandomSampler([0.1] * 10, 20)}, WHOLE),
        ({"sampler": SubsetRandomSampler([5, 3, 8, 1])}, [[5, 3, 8], [1]]),
        ({"sampler": DistributedSampler(Numbers(), num_replicas=1, rank=0)}, WHOLE),
        ({"sampler": Backwards()}, WHOLE),
    ],
    ids=lambda words: ",".join(words) if isinstance(words, dict) else "",
)
@pytest.mark.parametrize("drop_last", [False, True])
def test_what_shuffles_is_put_in_order(words: Any, batches: Any, drop_last: bool) -> None:
    loader = DataLoader(Numbers(), batch_size=3, drop_last=drop_last, **words)
    ordered = in_order(loader)

    expected = [batch for batch in batches if len(batch) == 3 or not drop_last]
    assert read(ordered) == read(ordered) == expected
    assert len(ordered) == len(expected)
    assert in_order(ordered) is ordered


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Numbers(), batch_size=3),
        DataLoader(Numbers(), sampler=[3, 1, 2]),
        DataLoader(Numbers(), sampler=range(3)),
        DataLoader(
            Numbers(), sampler=DistributedSampler(Numbers(), num_replicas=1, rank=0, shuffle=False)
        ),
        DataLoader(Numbers(), batch_size=None),
        DataLoader(Numbers(), batch_sampler=[[1, 2], [3]]),
        DataLoader(Endless(), batch_size=2),
        DataLoader(Endless(), batch_size=None),
        [1, 2],
        range(3),
        iter([1]),
        {"a": range(3), "b": [DataLoader(Numbers())]},
        CombinedLoader([range(3), DataLoader(Numbers())]),
    ],
    ids=lambda loader: type(loader).__name__,
)
def test_what_has_an_order_or_none_to_know_of_is_left_alone(loader: Any) -> None:
    assert in_order(loader) is loader


def test_a_batch_sampler_of_the_users_own_is_left_alone() -> None:
    class Own(BatchSampler):
        """Perhaps by length."""

    loader = DataLoader(Numbers(), batch_sampler=Own(RandomSampler(Numbers()), 3, False))

    assert in_order(loader) is loader


def test_a_loader_that_does_not_batch_is_put_in_order_too() -> None:
    loader = DataLoader(Numbers(), batch_size=None, shuffle=True)

    assert [int(sample) for sample in in_order(loader)] == list(range(10))


def test_everything_else_about_the_loader_stays() -> None:
    class Own(DataLoader[int]):
        """A loader with something of its own."""

        mine = "yes"

    def collate(samples: list[int]) -> torch.Tensor:
        return torch.tensor(samples) + 100

    loader = Own(Numbers(), batch_size=5, shuffle=True, collate_fn=collate, num_workers=1)
    ordered = in_order(loader)

    assert (type(ordered), ordered.mine) == (Own, "yes")
    assert read(ordered) == [[100, 101, 102, 103, 104], [105, 106, 107, 108, 109]]
    assert isinstance(loader.sampler, RandomSampler), "the loader itself is as it was"


def test_a_sampler_that_shuffles_is_not_changed_itself() -> None:
    sampler = DistributedSampler(Numbers(), num_replicas=1, rank=0)

    in_order(DataLoader(Numbers(), sampler=sampler))

    assert sampler.shuffle


def test_the_copy_has_workers_of_its_own() -> None:
    gc.collect()
    before = len(multiprocessing.active_children())
    loader = DataLoader(Numbers(), shuffle=True, num_workers=1, persistent_workers=True)
    batches = iter(loader)
    next(batches)
    ordered = in_order(loader)

    assert [int(batch) for batch in ordered] == list(range(10))
    assert len(list(batches)) == 9
    del ordered, batches, loader
    gc.collect()
    assert len(multiprocessing.active_children()) == before


def test_each_loader_of_a_collection_is_put_in_order() -> None:
    first, second = DataLoader(Numbers(), batch_size=5, shuffle=True), range(3)

    ordered = in_order({"a": first, "b": [second]})
    assert read(ordered["a"]) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert ordered["b"] == [second]

    combined = CombinedLoader({"a": first, "b": second}, "max_size")
    ordered = in_order(combined)
    assert isinstance(ordered, CombinedLoader)
    assert ordered.mode == "max_size"
    assert read(ordered.flattened[0]) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert combined.flattened == [first, second]
