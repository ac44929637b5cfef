"""The order of the data is a function of (seed, epoch, position), and of nothing else."""

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lt_data import LoaderStream
from lt_data.settings import Settings


class Loaded(Dataset[int]):
    """Notes what was loaded."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.loaded: list[int] = []

    def __getitem__(self, index: int) -> int:
        self.loaded.append(index)
        return index

    def __len__(self) -> int:
        return self.size


class Shuffling(Sampler[int]):
    """A sampler of the user's own, which draws from torch's global generator as it goes."""

    def __init__(self, size: int, generator: torch.Generator | None = None) -> None:
        self.size, self.generator = size, generator

    def __iter__(self) -> Iterator[int]:
        left = list(range(self.size))
        while left:
            place = int(torch.randint(len(left), (), generator=self.generator))
            yield left.pop(place)

    def __len__(self) -> int:
        return self.size


class Unmeasured(Shuffling):
    __len__ = None  # type: ignore[assignment]


class Pairs(Sampler[list[int]]):
    """A batch sampler of the user's own."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.size).tolist()
        yield from (order[start : start + 2] for start in range(0, self.size, 2))

    def __len__(self) -> int:
        return -(-self.size // 2)


SAMPLERS: dict[str, Any] = {
    "shuffle": lambda n: {"shuffle": True},
    "in order": lambda n: {},
    "a list": lambda n: {"sampler": list(range(n))[::-1]},
    "random": lambda n: {"sampler": RandomSampler(range(n))},
    "replacement": lambda n: {"sampler": RandomSampler(range(n), replacement=True)},
    "more than there are": lambda n: {"sampler": RandomSampler(range(n), num_samples=2 * n + 1)},
    "subset": lambda n: {"sampler": SubsetRandomSampler(range(0, n, 2))},
    "weighted": lambda n: {"sampler": WeightedRandomSampler(torch.arange(1.0, n + 1), n)},
    "own": lambda n: {"sampler": Shuffling(n)},
    "own, generator": lambda n: {"sampler": Shuffling(n, torch.Generator().manual_seed(5))},
    "own, without length": lambda n: {"sampler": Unmeasured(n)},
    "distributed": lambda n: {
        "sampler": DistributedSampler(Loaded(n), num_replicas=2, rank=1, seed=3)
    },
    "batches": lambda n: {"batch_sampler": Pairs(n)},
    "a batch sampler": lambda n: {"batch_sampler": BatchSampler(Shuffling(n), 3, False)},
    "a list of batches": lambda n: {"batch_sampler": [list(range(n)), [0]]},
    "one by one": lambda n: {"batch_size": None, "shuffle": True},
}


def loader(kind: str, size: int, batch: int = 1, *, data: Any = None, **words: Any) -> Any:
    given = {"batch_size": batch, **SAMPLERS[kind](size)}
    if "batch_sampler" in given:
        del given["batch_size"]
        words.pop("drop_last", None)
    if given.get("batch_size", 1) is None:
        words.pop("drop_last", None)
    return DataLoader(Loaded(size) if data is None else data, **given, **words)


def opened(loader: Any, **words: Any) -> LoaderStream:
    return LoaderStream(loader, phase="train", settings=Settings(**{"seed": 1, **words}))


def plain(batches: Any) -> list[Any]:
    return [
        batch[0].tolist() if isinstance(batch, list) else torch.as_tensor(batch).tolist()
        for batch in batches
    ]


def flat(batches: list[Any]) -> list[int]:
    return [one for batch in batches for one in (batch if isinstance(batch, list) else [batch])]


# The whole of an epoch


@pytest.mark.parametrize("kind", SAMPLERS)
def test_an_order_depends_on_seed_and_epoch_alone(kind: str) -> None:
    def read(seed: int, epoch: int) -> list[Any]:
        torch.rand(7)
        return plain(opened(loader(kind, 13, 4), seed=seed).epoch(epoch))

    first = read(1, 0)
    assert read(1, 0) == first
    if kind in ("in order", "a list", "a list of batches"):
        assert read(2, 1) == first
        return
    assert read(1, 1) != first
    if kind not in ("distributed", "own, generator"):  # they bring a seed of their own
        assert read(2, 0) != first


@pytest.mark.parametrize("kind", SAMPLERS)
def test_each_epoch_is_what_the_sampler_promises(kind: str) -> None:
    """As many batches of the same sizes as torch's, over the same samples where it takes each."""
    torch.manual_seed(0)
    ours, theirs = plain(opened(loader(kind, 13, 4)).epoch(0)), plain(loader(kind, 13, 4))
    sizes = [[len(one) if isinstance(one, list) else 1 for one in read] for read in (ours, theirs)]
    assert sizes[0] == sizes[1]
    if kind not in ("replacement", "weighted", "more than there are"):
        assert sorted(flat(ours)) == sorted(flat(theirs))
    if kind == "more than there are":
        assert sorted(flat(ours)[:26]) == sorted(2 * list(range(13)))


def test_weights_are_heeded() -> None:
    weights = torch.tensor([0.0, 1.0, 3.0])
    sampler = WeightedRandomSampler(weights, 4000)
    read = flat(plain(opened(DataLoader(Loaded(3), 100, sampler=sampler)).epoch(0)))
    assert read.count(0) == 0
    assert 0.7 < read.count(2) / 4000 < 0.8


@pytest.mark.parametrize("kind", SAMPLERS)
def test_reading_draws_nothing_from_the_global_generators(kind: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    stream = opened(loader(kind, 9, 2))
    assert len(list(stream.epoch(0))) > 1
    assert torch.rand(2).tolist() == expected


def test_a_generator_of_the_users_decides_and_is_left_alone() -> None:
    def read(own: int, **words: Any) -> list[Any]:
        generator = torch.Generator().manual_seed(own)
        before = generator.get_state()
        stream = opened(DataLoader(Loaded(20), shuffle=True, generator=generator), **words)
        order = plain(stream.epoch(0))
        assert torch.equal(generator.get_state(), before)
        return order

    assert read(1, seed=1) == read(1, seed=2) != read(2, seed=1)


def test_by_default_the_seed_is_torchs() -> None:
    def read(seed: int) -> list[Any]:
        torch.manual_seed(seed)
        return plain(opened(DataLoader(Loaded(20), shuffle=True), seed=None).epoch(0))

    assert read(1) == read(1) != read(2)


# Cut and gone on from


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(sorted(SAMPLERS)),
    size=st.integers(1, 25),
    batch=st.integers(1, 5),
    drop_last=st.booleans(),
    cut=st.integers(0, 30),
    epoch=st.integers(0, 2),
    tensors=st.booleans(),
)
def test_cut_and_gone_on_from_is_as_if_never_cut(
    kind: str, size: int, batch: int, drop_last: bool, cut: int, epoch: int, tensors: bool
) -> None:
    def new() -> Any:
        data = TensorDataset(torch.arange(size)) if tensors else Loaded(size)
        return loader(kind, size, batch, data=data, drop_last=drop_last)

    whole = plain(opened(new()).epoch(epoch))
    first = opened(new())
    seen = plain(islice(first.epoch(epoch), cut))
    position = first.state_dict()
    assert position["batch"] == len(seen)

    reader = new()
    second = opened(reader, seed=99)
    second.load_state_dict(position)
    assert second.state_dict() == position
    rest = plain(second.epoch(epoch))
    assert seen + rest == whole
    assert second.state_dict()["batch"] == len(whole)
    if not tensors:
        assert len(reader.dataset.loaded) == len(flat(rest)), "nothing else was loaded"
    assert plain(second.epoch(epoch + 1)) == plain(opened(new()).epoch(epoch + 1))


@pytest.mark.parametrize("workers", [(0, 2), (2, 0), (2, 2)])
@pytest.mark.parametrize("kind", ["shuffle", "own", "batches", "one by one"])
def test_the_number_of_workers_does_not_matter(kind: str, workers: tuple[int, int]) -> None:
    whole = plain(opened(loader(kind, 11, 2)).epoch(1))
    first = opened(loader(kind, 11, 2, num_workers=workers[0]))
    seen = plain(islice(first.epoch(1), 3))
    position = first.state_dict()
    first.close()
    second = opened(loader(kind, 11, 2, num_workers=workers[1]))
    second.load_state_dict(position)
    assert seen + plain(second.epoch(1)) == whole
    second.close()


@given(
    size=st.integers(1, 40),
    batches=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    cut=st.integers(0, 10),
    drop_last=st.booleans(),
)
def test_another_batch_size_goes_on_with_the_next_sample(
    size: int, batches: tuple[int, int], cut: int, drop_last: bool
) -> None:
    order = flat(plain(opened(DataLoader(Loaded(size), shuffle=True)).epoch(0)))

    def new(batch: int) -> LoaderStream:
        return opened(DataLoader(Loaded(size), batch, shuffle=True, drop_last=drop_last))

    first, second = map(new, batches)
    seen = flat(plain(islice(first.epoch(0), cut)))
    second.load_state_dict(first.state_dict())
    done = second.state_dict()["batch"]
    rest = plain(second.epoch(0))
    together = seen + flat(rest)
    assert together == order[: len(together)]
    assert drop_last or together == order
    assert done + len(rest) == second.length, "what an engine counts on"


def test_going_on_says_nothing_where_it_seeks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for kind in SAMPLERS:
        stream = opened(loader(kind, 9, 2))
        stream.load_state_dict({"epoch": 0, "batch": 1})
        list(stream.epoch(0))
    assert caplog.records == []


def test_a_position_of_another_kind_of_loader_is_refused_within_an_epoch() -> None:
    samples, batches = opened(loader("shuffle", 9, 2)), opened(loader("batches", 9))
    next(samples.epoch(1))
    batches.load_state_dict(samples.state_dict())
    with pytest.raises(
        ValueError, match=r"of the same kind\. Received one that counts samples, for"
    ):
        batches.epoch(1)
    batches.load_state_dict(samples.state_dict())
    assert len(list(batches.epoch(2))) == 5


# The last batch, and the fingerprint


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("cut", [0, 2])
def test_the_last_batch_is_known(kind: str, cut: int) -> None:
    whole = plain(opened(loader(kind, 7, 2)).epoch(0))
    stream = opened(loader(kind, 7, 2))
    stream.load_state_dict({"epoch": 0, "batch": cut})
    assert not stream.is_last
    known = []
    for number, _ in enumerate(stream.epoch(0), cut + 1):
        known.append(stream.is_last)
        assert stream.state_dict()["batch"] == number
    assert known == [False] * (len(whole) - cut - 1) + [True] * (len(whole) > cut)
    stream.epoch(1)
    assert not stream.is_last


def test_the_fingerprint_is_what_shapes_the_order() -> None:
    stream = opened(DataLoader(Loaded(9), 2, shuffle=True, drop_last=True))
    expected = {"batch_size": 2, "dataset_length": 9, "sampler": "RandomSampler"}
    expected |= {"drop_last": True, "order": "seeded", "seed": 1}  # type: ignore[dict-item]
    assert stream.fingerprint == expected
    stream = opened(loader("batches", 9), seed=None)
    assert stream.fingerprint["batch_size"] is None
    assert stream.fingerprint["sampler"] == "Pairs"
    assert stream.fingerprint["seed"] is None, "torch's is part of the position"


def test_a_loader_that_is_read_again_within_an_epoch_is_shuffled_anew() -> None:
    def read(stream: LoaderStream) -> list[Any]:
        return [plain(stream.epoch(0)), plain(stream.again()), plain(stream.again())]

    first = read(opened(loader("shuffle", 20)))
    assert read(opened(loader("shuffle", 20))) == first
    assert first[0] != first[1] != first[2] != first[0]

    stream = opened(loader("shuffle", 20))
    stream.epoch(0)
    seen = plain(islice(stream.again(), 5))
    other = opened(loader("shuffle", 20))
    other.load_state_dict(stream.state_dict())
    assert seen + plain(other.epoch(0)) == first[1]
