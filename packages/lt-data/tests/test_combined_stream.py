"""Several loaders, read as one in a run: epochs, positions, workers."""

import gc
import multiprocessing
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lt_data import CombinedLoader, CombinedStream, LoaderStream
from lt_data.modes import Mode
from lt_data.settings import Settings

SIDE_BY_SIDE: list[Mode] = ["min_size", "max_size_cycle", "max_size"]


class Numbers(Dataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return self.size


class Unmeasured:
    """An iterable without a length, which counts how often it was read."""

    def __init__(self, count: int) -> None:
        self.count, self.reads = count, 0

    def __iter__(self) -> Iterator[int]:
        self.reads += 1
        return iter(range(self.count))


def opened(loaders: Any, mode: Mode = "max_size_cycle", **words: Any) -> CombinedStream:
    settings = Settings(**words)
    return CombinedStream(CombinedLoader(loaders, mode), phase="train", settings=settings)


def numbers(batches: Any) -> Any:
    if isinstance(batches, dict):
        return {name: numbers(part) for name, part in batches.items()}
    if isinstance(batches, list):
        return [numbers(part) for part in batches]
    return batches.tolist() if isinstance(batches, torch.Tensor) else batches


# What it yields


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
@pytest.mark.parametrize("workers", [0, 2])
def test_it_yields_the_batches_of_the_loader_epoch_after_epoch(mode: Mode, workers: int) -> None:
    def loaders() -> Any:
        generator = torch.Generator().manual_seed(3)
        words = {"generator": generator, "shuffle": True, "num_workers": workers}
        return {"a": DataLoader(Numbers(7), batch_size=2, **words), "b": [DataLoader(Numbers(2))]}

    expected = CombinedLoader(loaders(), mode)
    stream = opened(loaders(), mode, order="torch")
    for epoch in range(3):
        found = [numbers(batch) for batch in stream.epoch(epoch)]
        assert found == [numbers(batch) for batch, _, _ in expected]
        assert len(found) == stream.length
    stream.close()


def test_in_torchs_order_random_numbers_are_drawn_as_by_a_loop_over_zip() -> None:
    def shuffled() -> list[Any]:
        return [DataLoader(Numbers(6), shuffle=True), DataLoader(Numbers(6), shuffle=True)]

    torch.manual_seed(0)
    loaders = shuffled()
    expected = [[int(x), int(y)] for _ in range(2) for x, y in zip(*loaders, strict=True)]
    expected_next = torch.rand(1)
    torch.manual_seed(0)
    stream = opened(shuffled(), order="torch")

    found = [[int(x), int(y)] for epoch in range(2) for x, y in stream.epoch(epoch)]
    assert found == expected
    assert torch.rand(1) == expected_next


@pytest.mark.parametrize(
    ("mode", "loaders", "length"),
    [
        ("min_size", [range(3), range(5)], 3),
        ("max_size", [range(3), range(5)], 5),
        ("max_size_cycle", [range(3), range(5)], 5),
        ("min_size", [range(3), Unmeasured(5)], None),
        ("max_size_cycle", [range(3), Unmeasured(5)], None),
    ],
)
def test_length(mode: Mode, loaders: Any, length: int | None) -> None:
    assert opened(loaders, mode).length == length


def test_nothing_is_read_before_the_first_batch() -> None:
    first, second = Unmeasured(2), Unmeasured(2)
    stream = opened([first, second])
    batches = stream.epoch(0)
    assert (first.reads, second.reads) == (0, 0)
    next(batches)
    assert (first.reads, second.reads) == (1, 1)


def test_loaders_that_end_together_are_not_read_again() -> None:
    first, second, third = Unmeasured(2), Unmeasured(2), Unmeasured(1)

    assert len(list(opened([first, second, third]).epoch(0))) == 2
    assert (first.reads, second.reads, third.reads) == (1, 1, 2)


@pytest.mark.parametrize("once", [True, False])
def test_it_is_read_once_where_one_of_its_loaders_is(once: bool) -> None:
    other: Any = (number for number in range(3)) if once else range(3)
    stream = opened([range(3), other])

    assert stream.once is once
    assert len(list(stream.epoch(0))) == 3
    if once:
        with pytest.raises(ValueError, match=r"^A train\[1\] loader that is read in several epo"):
            stream.epoch(1)


def test_a_generator_that_ends_first_is_refused_when_it_is_needed_again() -> None:
    stream = opened({"a": range(3), "b": (number for number in range(2))})
    batches = stream.epoch(0)
    next(batches), next(batches)
    with pytest.raises(ValueError, match=r"Received one at \['b'\] that yields nothing then"):
        next(batches)


def test_every_loader_hears_of_the_epoch() -> None:
    def sampled(seed: int) -> DataLoader[int]:
        sampler = DistributedSampler(Numbers(6), num_replicas=1, rank=0, seed=seed)
        return DataLoader(Numbers(6), sampler=sampler)

    stream = opened([sampled(1), sampled(2)])
    first, second = list(stream.epoch(0)), list(stream.epoch(1))
    assert first != second
    assert list(stream.epoch(0)) == first


# Position


LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=3)


@given(LENGTHS, st.sampled_from(SIDE_BY_SIDE), st.integers(0, 6), st.booleans())
def test_going_on_gives_the_batches_that_were_to_come(
    lengths: list[int], mode: Mode, read: int, another_epoch: bool
) -> None:
    loaders = [DataLoader(Numbers(count)) for count in lengths]
    whole = [numbers(batch) for batch in opened(loaders, mode).epoch(2)]
    first = opened(loaders, mode)
    batches = first.epoch(2)
    seen = [numbers(batch) for batch in islice(batches, read)]
    position = first.state_dict()
    assert (position["epoch"], position["batch"]) == (2, len(seen))

    second = opened(loaders, mode)
    second.load_state_dict(position)
    assert second.state_dict() == position
    if another_epoch:
        assert [numbers(batch) for batch in second.epoch(3)] == whole
        assert second.state_dict()["batch"] == len(whole)
    rest = [numbers(batch) for batch in second.epoch(2)]
    assert seen + rest == (seen + whole if another_epoch else whole)
    assert second.state_dict()["epoch"] == 2


def test_a_position_is_data() -> None:
    stream = opened({"a": range(2), "b": range(5)})
    batches = stream.epoch(1)
    for _ in range(3):
        next(batches)

    position = stream.state_dict()
    parts = position.pop("parts")
    assert position == {"epoch": 1, "batch": 3, "cycling": [0]}
    assert [(part["epoch"], part["batch"], part["lap"]) for part in parts] == [(1, 1, 1), (1, 3, 0)]


def test_going_on_reads_only_the_pass_that_was_left() -> None:
    """A loader that has begun anew five times is not read five times to go on."""
    short, long = Unmeasured(2), Unmeasured(9)
    stream = opened([short, long])
    stream.load_state_dict(
        {
            "epoch": 0,
            "batch": 7,
            "parts": [{"epoch": 0, "batch": 1}, {"epoch": 0, "batch": 7}],
            "cycling": [0],
        }
    )

    batches = stream.epoch(0)
    assert next(batches) == [1, 7]
    assert short.reads == 1
    assert list(batches) == [[0, 8]]


@pytest.mark.parametrize(
    ("position", "received"),
    [
        ({"epoch": 0, "batch": 2}, "the position of a single one for the 2 loaders at"),
        (
            {"epoch": 0, "batch": 2, "parts": [{"epoch": 0, "batch": 2}] * 3, "cycling": []},
            r"the position of 3 for the 2 loaders at \['a'\], \['b'\]\. Pass the same loaders",
        ),
    ],
)
def test_a_position_of_other_loaders_is_refused_within_an_epoch(
    position: Any, received: str
) -> None:
    stream = opened({"a": range(3), "b": range(3)})
    stream.load_state_dict(position)
    with pytest.raises(ValueError, match=rf"^A position within an epoch .*Received {received}"):
        stream.epoch(0)
    stream.load_state_dict(position)
    assert len(list(stream.epoch(1))) == 3, "another epoch begins with whatever there is"


# Workers


def worker_count() -> int:
    return len(multiprocessing.active_children())


@pytest.mark.parametrize("persistent", [False, True])
def test_closing_ends_the_workers_of_all_loaders(persistent: bool) -> None:
    gc.collect()
    before = worker_count()
    words: Any = {"num_workers": 1, "persistent_workers": persistent}
    stream = opened([DataLoader(Numbers(4), **words), DataLoader(Numbers(2), **words)])
    batches = stream.epoch(0)
    assert worker_count() == before
    for _ in range(3):
        next(batches)
    assert worker_count() == before + 2
    stream.close()
    assert worker_count() == before
    stream.close()
    assert list(batches) == []
    assert len(list(stream.epoch(1))) == 4
    stream.close()
    assert worker_count() == before


def test_closing_ends_the_others_where_one_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    def close(self: LoaderStream) -> None:
        closed.append(self._phase)
        if self._phase == "train[0]":
            raise OSError("stuck")

    monkeypatch.setattr(LoaderStream, "close", close)
    with pytest.raises(OSError, match="stuck"):
        opened([range(3), range(3)]).close()
    assert sorted(closed) == ["train[0]", "train[1]"]


# What can't be read as one


def test_loaders_one_after_another_are_refused() -> None:
    message = r"^Loaders that are read as one .* mode 'sequential' as train loader\. Use min_size"
    with pytest.raises(ValueError, match=message):
        opened([range(3), range(3)], "sequential")


def test_limits_of_its_own_are_refused() -> None:
    combined = CombinedLoader([range(3), range(3)])
    combined.limits = 2
    with pytest.raises(ValueError, match=r"limits=\[2, 2\] as test loader\. Use limit_train_bat"):
        CombinedStream(combined, phase="test")


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_a_loader_without_batches_is_refused(mode: Mode) -> None:
    message = r"^A train loader must yield batches\. Received an empty one at \['b'\]: its length"
    with pytest.raises(ValueError, match=message):
        opened({"a": range(3), "b": []}, mode)
