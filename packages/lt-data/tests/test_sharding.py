"""Data dealt out to several processes."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    TensorDataset,
)

from lt_data import CombinedStream, LoaderStream, TorchFeed


@dataclass
class Process:
    """One of several processes, of which rank 0 said what is broadcast."""

    rank: int = 0
    world_size: int = 1
    said: Any = None

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        assert src == 0
        return obj if self.said is None else self.said


class Noisy(Dataset[Any]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, index: int) -> tuple[int, float]:
        return index, float(torch.rand(()))

    def __len__(self) -> int:
        return self.size


class Streamed(IterableDataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))


def opened(loader: Any, rank: int, world: int, *, phase: str = "train") -> Any:
    return TorchFeed(seed=3).open(loader, phase=phase, world=Process(rank, world))


def ranks(loader: Any, world: int, *, phase: str = "train", **words: Any) -> list[list[Any]]:
    """What each rank reads."""
    return [
        plain(opened(loader(), rank, world, phase=phase).epoch(words.get("epoch", 0)))
        for rank in range(world)
    ]


def plain(batches: Any) -> list[list[Any]]:
    """The samples of each batch, with what each drew."""
    found = []
    for batch in batches:
        parts = batch if isinstance(batch, list) else [batch]
        rows = [torch.as_tensor(part).reshape(-1).tolist() for part in parts]
        found.append(list(zip(*rows, strict=True)))
    return found


def flat(batches: Any) -> list[Any]:
    return list(chain.from_iterable(batches))


@settings(deadline=None)
@given(
    size=st.integers(1, 30),
    batch=st.integers(1, 4),
    world=st.integers(1, 3),
    shuffle=st.booleans(),
    tensors=st.booleans(),
)
def test_in_training_ranks_see_what_one_process_with_the_whole_batch_sees(
    size: int, batch: int, world: int, shuffle: bool, tensors: bool
) -> None:
    def loader(batch_size: int) -> Any:
        data: Any = TensorDataset(torch.arange(size)) if tensors else Noisy(size)
        return DataLoader(data, batch_size, shuffle=shuffle)

    one = plain(opened(loader(world * batch), 0, 1).epoch(0))
    found = ranks(lambda: loader(batch), world)
    assert {len(batches) for batches in found} == {len(one)}
    for whole, *parts in zip(one, *found, strict=True):
        assert list(dict.fromkeys(flat(parts))) == whole
        assert len(flat(parts)) == max(len(whole), world)


@settings(deadline=None)
@given(
    size=st.integers(0, 30),
    batch=st.integers(1, 4),
    world=st.integers(1, 3),
    kind=st.sampled_from(["samples", "batches", "stream", "list"]),
    phase=st.sampled_from(["validate", "test", "predict"]),
)
def test_in_evaluation_each_sample_is_seen_once(
    size: int, batch: int, world: int, kind: str, phase: str
) -> None:
    sizes = [range(start, min(start + batch, size)) for start in range(0, size, batch)]
    loaders: dict[str, Any] = {
        "samples": lambda: DataLoader(Noisy(size), batch),
        "batches": lambda: DataLoader(Noisy(size), batch_sampler=[list(one) for one in sizes]),
        "stream": lambda: DataLoader(Streamed(size), batch),
        "list": lambda: [torch.tensor(list(one)) for one in sizes],
    }
    found = ranks(loaders[kind], world, phase=phase)
    assert sorted(sample[0] for sample in flat(map(flat, found))) == list(range(size))
    counts = [len(batches) for batches in found]
    assert max(counts) - min(counts) <= 1
    lengths = [opened(loaders[kind](), r, world, phase=phase).length for r in range(world)]
    assert lengths == (counts if kind != "stream" else [None] * world)


@settings(deadline=None)
@given(
    size=st.integers(1, 40),
    batches=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    worlds=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    cut=st.integers(0, 8),
    kind=st.sampled_from(["samples", "batches", "one by one"]),
)
def test_another_number_of_processes_goes_on_with_the_next_sample(
    size: int, batches: tuple[int, int], worlds: tuple[int, int], cut: int, kind: str
) -> None:
    def loader(batch: int) -> Any:
        if kind == "batches":
            return DataLoader(Noisy(size), batch_sampler=[[one] for one in range(size)])
        if kind == "one by one":
            return DataLoader(Noisy(size), batch_size=None, shuffle=True)
        return DataLoader(Noisy(size), batch, shuffle=True)

    order = flat(plain(opened(loader(1), 0, 1).epoch(2)))
    first = [opened(loader(batches[0]), rank, worlds[0]) for rank in range(worlds[0])]
    seen = [plain(islice(stream.epoch(2), cut)) for stream in first]
    positions = [stream.state_dict() for stream in first]
    assert all(position == positions[0] for position in positions), "any rank's will do"

    second = [opened(loader(batches[1]), rank, worlds[1]) for rank in range(worlds[1])]
    for stream in second:
        stream.load_state_dict(positions[0])
    done = [stream.state_dict()["batch"] for stream in second]
    rest = [plain(stream.epoch(2)) for stream in second]
    assert {one + len(left) for one, left in zip(done, rest, strict=True)} == {second[0].length}

    def in_turn(streams: list[Any]) -> list[Any]:
        rounds = zip_longest(*streams, fillvalue=[])
        return flat(dict.fromkeys(flat(batches)) for batches in rounds)

    before, after = in_turn(seen), in_turn(rest)
    assert before + after == order, "nothing twice, nothing never"


def test_a_batch_sampler_is_dealt_out_in_turn() -> None:
    def loader() -> Any:
        return DataLoader(range(9), batch_sampler=[[0, 1], [2], [3, 4], [5], [6]])  # type: ignore[arg-type]

    found = [[[key for (key,) in batch] for batch in batches] for batches in ranks(loader, 3)]
    assert found == [[[0, 1], [5]], [[2], [6]], [[3, 4], [5]]]


def test_a_stream_is_read_by_turns_and_its_last_round_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for loader in (lambda: DataLoader(Streamed(8), 1), lambda: list(torch.arange(8))):
        found = [[key for ((key,),) in batches] for batches in ranks(loader, 3)]
        assert found == [[0, 3], [1, 4], [2, 5]]
        assert "The last 2 batches of the train loader are left out" in caplog.text
        caplog.clear()
    assert opened(list(range(8)), 0, 3).length == 2


def test_the_last_batch_is_known_on_each_rank() -> None:
    for loader in (lambda: DataLoader(Noisy(11), 2), lambda: DataLoader(Streamed(6), 1)):
        for rank in range(2):
            stream = opened(loader(), rank, 2)
            known = [stream.is_last for _ in stream.epoch(0)]
            assert known == [False, False, True]


def test_the_seed_is_that_of_rank_0() -> None:
    torch.manual_seed(1)
    expected = plain(
        TorchFeed()
        .open(DataLoader(Noisy(9), 9, shuffle=True), phase="train", world=Process())
        .epoch(0)
    )
    torch.manual_seed(2)
    for rank in range(2):
        loader = DataLoader(Noisy(9), 5, shuffle=True)
        world = Process(rank, 2, said=1)
        stream = TorchFeed().open(loader, phase="train", world=world)
        assert set(flat(plain(stream.epoch(0)))) < set(flat(expected))


@pytest.mark.parametrize("phase", ["train", "validate"])
def test_what_shards_itself_is_left_alone(phase: str) -> None:
    sampler = DistributedSampler(Noisy(8), num_replicas=2, rank=1, shuffle=False)
    (batch,) = opened(DataLoader(Noisy(8), 4, sampler=sampler), 1, 2, phase=phase).epoch(0)
    assert batch[0].tolist() == [1, 3, 5, 7]

    split = Streamed(3)
    split._distributed = "as datasets' split_dataset_by_node leaves it"  # type: ignore[attr-defined]
    assert len(list(opened(DataLoader(split, 1), 1, 2, phase=phase).epoch(0))) == 3


def test_loaders_that_are_combined_are_shared_each() -> None:
    loaders = {"a": DataLoader(Noisy(6), 1, shuffle=True), "b": DataLoader(Noisy(4), 1)}
    whole, halves = opened(loaders, 0, 1), [opened(loaders, rank, 2) for rank in range(2)]
    assert isinstance(whole, CombinedStream)
    assert [half.length for half in halves] == [3, 3]
    found = [[int(batch["a"][0]) for batch in half.epoch(0)] for half in halves]
    assert list(chain(*zip(*found, strict=True))) == [
        int(batch["a"][0]) for batch in whole.epoch(0)
    ]


def test_torchs_order_is_shared_only_where_all_have_the_same() -> None:
    def stream(loader: Any) -> LoaderStream:
        opened = TorchFeed(order="torch").open(loader, phase="train", world=Process(1, 2))
        assert isinstance(opened, LoaderStream)
        return opened

    with pytest.raises(
        ValueError, match=r"Received a train loader with a RandomSampler\. Pass it a"
    ):
        stream(DataLoader(Noisy(4), shuffle=True))
    assert flat(plain(stream(DataLoader(range(4), 2)).epoch(0))) == [(2,), (3,)]  # type: ignore[arg-type]
