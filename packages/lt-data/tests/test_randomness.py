"""The random numbers of a sample are a function of (seed, epoch, place), wherever it is loaded."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    default_collate,
    get_worker_info,
)

from lt_data import LoaderStream
from lt_data.fetching import draws_samples
from lt_data.settings import Settings

np: Any = pytest.importorskip("numpy")


def noise() -> float:
    """A number that all three generators have a part in."""
    return (
        random.random() + 10 * np.random.rand() + 100 * float(torch.rand((), dtype=torch.float64))
    )


class Augmented(Dataset[Any]):
    def __init__(self, size: int = 9) -> None:
        self.size = size

    def __getitem__(self, index: int) -> tuple[int, float]:
        return index, noise()

    def __len__(self) -> int:
        return self.size


class Together(Augmented):
    """Asked for several samples at once."""

    def __getitems__(self, indices: list[int]) -> list[tuple[int, float]]:
        assert type(indices) is list
        return [(index, noise()) for index in indices]


def collated_with_noise(samples: list[Any]) -> Any:
    return default_collate(samples), noise()


class Streamed(IterableDataset[float]):
    def __iter__(self) -> Iterator[float]:
        return (noise() for _ in range(6))


def opened(data: Any, batch_size: int | None = 2, **words: Any) -> LoaderStream:
    settings = Settings(seed=words.pop("seed", 1))
    return LoaderStream(
        DataLoader(data, batch_size=batch_size, **words), phase="train", settings=settings
    )


def read(stream: LoaderStream, epoch: int = 0, count: int | None = None) -> list[str]:
    return [repr(batch) for batch in islice(stream.epoch(epoch), count)]


KINDS: dict[str, Any] = {
    "samples": lambda: {"data": Augmented(), "shuffle": True},
    "in order": lambda: {"data": Augmented()},
    "together": lambda: {"data": Together(), "shuffle": True},
    "subset": lambda: {"data": Subset(Subset(Augmented(), [8, 1, 4, 2, 0]), [4, 1, 3])},
    "stacked": lambda: {"data": StackDataset(Augmented(), Augmented()), "shuffle": True},
    "several": lambda: {"data": ConcatDataset([Augmented(3), Augmented(4)]), "shuffle": True},
    "collate": lambda: {"data": TensorDataset(torch.arange(9)), "collate_fn": collated_with_noise},
    "both": lambda: {"data": Augmented(), "collate_fn": collated_with_noise},
    "one by one": lambda: {"data": Augmented(), "batch_size": None, "shuffle": True},
    "batches": lambda: {"data": Augmented(), "batch_size": 1, "batch_sampler": [[3, 1], [2], [2]]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_the_same_with_and_without_workers(kind: str) -> None:
    def stream(workers: int, seed: int = 1) -> LoaderStream:
        return opened(**KINDS[kind](), num_workers=workers, seed=seed)

    here, there = stream(0), stream(2)
    expected = read(here)
    random.seed(4), torch.manual_seed(5), np.random.seed(6)
    assert read(here) == expected, "whatever was drawn before"
    assert read(there) == expected
    assert read(there, 1) == read(here, 1) != expected
    assert read(stream(0, seed=2)) != expected
    there.close()


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_the_same_after_going_on(kind: str) -> None:
    whole = read(opened(**KINDS[kind]()), 1)
    first, second = opened(**KINDS[kind]()), opened(**KINDS[kind](), num_workers=1, seed=3)
    seen = read(first, 1, 1)
    second.load_state_dict(first.state_dict())
    assert seen + read(second, 1) == whole
    second.close()


def test_a_sample_is_the_same_in_a_batch_of_any_size() -> None:
    def samples(batch_size: int) -> list[Any]:
        batches = opened(Augmented(), batch_size, shuffle=True).epoch(0)
        return [
            pair
            for keys, drawn in batches
            for pair in zip(keys.tolist(), drawn.tolist(), strict=True)
        ]

    assert samples(1) == samples(4)
    values = [value for _, value in samples(1)]
    assert len(set(values)) == len(values)


def test_a_sample_that_comes_twice_is_drawn_twice() -> None:
    keys, values = next(opened(Augmented(), 4, sampler=[3, 3, 3, 3]).epoch(0))
    assert keys.tolist() == [3] * 4
    assert len(set(values.tolist())) == 4


@pytest.mark.parametrize("kind", [*KINDS, "streamed"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_generators_stand_where_they_stood(kind: str, workers: int) -> None:
    words = {"data": Streamed()} if kind == "streamed" else KINDS[kind]()
    random.seed(4), torch.manual_seed(5), np.random.seed(6)
    np.random.randn()  # of which numpy keeps a second one
    expected = [noise(), np.random.randn()]
    random.seed(4), torch.manual_seed(5), np.random.seed(6)
    np.random.randn()
    stream = opened(**words, num_workers=workers)
    batches = stream.epoch(0)
    next(batches)
    assert [noise(), np.random.randn()] == expected
    after = noise()
    random.seed(4), torch.manual_seed(5), np.random.seed(6)
    np.random.randn(), noise(), np.random.randn()
    list(batches)
    stream.close()
    assert noise() == after


def test_they_are_put_back_after_a_failure_too() -> None:
    class Failing(Augmented):
        def __getitem__(self, index: int) -> Any:
            raise LookupError(str(noise()))

    torch.manual_seed(5)
    expected = float(torch.rand(()))
    torch.manual_seed(5)
    with pytest.raises(LookupError):
        next(opened(Failing()).epoch(0))
    assert float(torch.rand(())) == expected


def test_a_dataset_that_is_iterated_is_drawn_anew_from_the_epoch() -> None:
    whole = read(opened(Streamed()))
    assert read(opened(Streamed())) == whole != read(opened(Streamed()), 1)
    stream = opened(Streamed())
    first = read(stream, 0, 2)
    second = opened(Streamed(), seed=7)
    second.load_state_dict(stream.state_dict())
    assert first + read(second) == whole


def test_workers_see_the_users_dataset() -> None:
    class Told(Augmented):
        offset = 0
        given = "a name that the package uses too"

        def __getitem__(self, index: int) -> Any:
            info = get_worker_info()
            assert info is not None
            assert info.dataset is self
            return index + self.offset

    def tell(worker: int) -> None:
        info = get_worker_info()
        assert info is not None
        info.dataset.offset = 100

    stream = opened(Told(3), 3, num_workers=1, worker_init_fn=tell)
    assert [batch.tolist() for batch in stream.epoch(0)] == [[100, 101, 102]]
    stream.close()


def test_persistent_workers_are_kept_and_draw_anew() -> None:
    stream = opened(Augmented(), num_workers=1, persistent_workers=True, shuffle=True)
    here = opened(Augmented(), shuffle=True)
    found = [read(stream, epoch) for epoch in range(3)]
    assert found == [read(here, epoch) for epoch in range(3)]
    stream.close()


def test_pinning_goes_through_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="pin_memory"):
        pinned = read(opened(Augmented(), pin_memory=True, shuffle=True))
    assert pinned == read(opened(Augmented(), shuffle=True))


def test_seeding_can_be_left_out() -> None:
    settings = Settings(seed=1, seed_samples=False)
    loader = DataLoader(Augmented(), 9, collate_fn=collated_with_noise)
    torch.manual_seed(5), np.random.seed(6), random.seed(7)
    expected = [noise() for _ in range(10)]
    torch.manual_seed(5), np.random.seed(6), random.seed(7)
    ((_, drawn), last) = next(LoaderStream(loader, phase="train", settings=settings).epoch(0))
    assert [*drawn.tolist(), last] == expected, "as the generators stand, like torch"
    torch.manual_seed(5), np.random.seed(6), random.seed(7)
    stream = LoaderStream(DataLoader(Streamed(), 6), phase="train", settings=settings)
    assert next(stream.epoch(0)).tolist() == expected[:6]


@pytest.mark.parametrize(
    ("data", "draws"),
    [
        ([1, 2], False),
        (TensorDataset(torch.zeros(3)), False),
        (Subset(TensorDataset(torch.zeros(3)), [1]), False),
        (ConcatDataset([TensorDataset(torch.zeros(3))]), False),
        (StackDataset(a=TensorDataset(torch.zeros(3))), False),
        (Augmented(), True),
        (Subset(Augmented(), [1]), True),
        (ConcatDataset([TensorDataset(torch.zeros(3)), Augmented()]), True),
        (StackDataset(Augmented()), True),
    ],
)
def test_what_draws_nothing_is_not_seeded(data: Any, draws: bool) -> None:
    assert draws_samples(data) is draws
