import gc
import logging
import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from lt_data import LoaderStream
from lt_data.settings import Settings


class Numbers(Dataset[int]):
    def __init__(self, size: int = 10) -> None:
        self.size = size

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return self.size


class Endless(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(6))


class Restarting:
    """An iterator that starts anew in each epoch, as some loaders on GPUs are."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> "Restarting":
        self.left = 3
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left


def opened(loader: Any, **words: Any) -> LoaderStream:
    return LoaderStream(loader, phase="train", settings=Settings(**words))


def where(stream: LoaderStream) -> dict[str, int]:
    """The part of a position that counts batches."""
    return {
        name: count for name, count in stream.state_dict().items() if name in ("epoch", "batch")
    }


def plain(batches: Any) -> list[Any]:
    return [b.tolist() if isinstance(b, torch.Tensor) else b for b in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_batches_are_the_loaders_own(workers: int) -> None:
    def loader() -> Any:
        generator = torch.Generator().manual_seed(3)
        return DataLoader(
            Numbers(), batch_size=3, shuffle=True, generator=generator, num_workers=workers
        )

    expected, stream = loader(), opened(loader(), order="torch")
    for epoch in range(2):
        assert plain(stream.epoch(epoch)) == plain(expected)
    stream.close()
    stream = opened(DataLoader(Numbers(), batch_size=3, num_workers=workers))
    assert plain(stream.epoch(0)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    stream.close()


def test_in_torchs_order_no_more_random_numbers_are_drawn_than_by_the_loader() -> None:
    loader = DataLoader(Numbers(), batch_size=3, shuffle=True)
    torch.manual_seed(0)
    expected = [plain(loader), plain(loader), torch.rand(2).tolist()]
    torch.manual_seed(0)
    stream = opened(loader, order="torch")
    assert [plain(stream.epoch(0)), plain(stream.epoch(1)), torch.rand(2).tolist()] == expected


@pytest.mark.parametrize(
    ("loader", "length"),
    [
        (DataLoader(Numbers(), batch_size=3), 4),
        (DataLoader(Numbers(), batch_size=3, drop_last=True), 3),
        (DataLoader(Endless(), batch_size=2), None),
        ([1, 2], 2),
        (iter([1, 2]), None),
    ],
)
def test_length(loader: Any, length: int | None) -> None:
    assert opened(loader).length == length


def test_a_length_that_changes_is_asked_for_anew() -> None:
    batches = [1, 2]
    stream = opened(batches)
    batches.append(3)
    assert stream.length == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_the_position_counts_batches_handed_out(workers: int) -> None:
    stream = opened(DataLoader(Numbers(), batch_size=2, num_workers=workers))
    assert where(stream) == {"epoch": 0, "batch": 0}
    batches = stream.epoch(4)
    assert where(stream) == {"epoch": 4, "batch": 0}
    for count in (1, 2, 3):
        next(batches)
        assert where(stream) == {"epoch": 4, "batch": count}
    list(batches)
    assert where(stream) == {"epoch": 4, "batch": 5}
    stream.close()


@given(st.integers(0, 7), st.integers(0, 3), st.integers(0, 3))
def test_going_on_skips_what_was_handed_out(read: int, epoch: int, then: int) -> None:
    loader = DataLoader(Numbers(6), batch_size=1)
    first = opened(loader)
    batches = first.epoch(epoch)
    seen = [int(batch) for batch, _ in zip(batches, range(read), strict=False)]
    position = {"epoch": epoch, "batch": len(seen)}
    second = opened(loader)
    second.load_state_dict(position)
    assert where(second) == position
    rest = second.epoch(then)
    assert [int(batch) for batch in rest] == list(range(len(seen) if then == epoch else 0, 6))
    assert where(second) == {"epoch": then, "batch": 6}
    assert [int(batch) for batch in second.epoch(then)] == list(range(6))


def test_going_on_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    stream = opened(Restarting())
    for _ in range(2):
        stream.load_state_dict({"epoch": 1, "batch": 2})
        assert list(stream.epoch(1)) == [0]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("lt_data", logging.WARNING)
    assert "after batch 2 of an epoch: the train loader is read up to there" in record.message
    stream = opened([1, 2, 3])
    stream.load_state_dict({"epoch": 1, "batch": 2})
    assert list(stream.epoch(1)) == [3], "a list is entered anywhere"
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("loader", "once"),
    [
        ((number for number in range(3)), True),
        (map(abs, [1]), True),
        (iter([1]), True),
        (iter(DataLoader(Numbers())), True),
        (DataLoader(Numbers()), False),
        ([1], False),
        (range(3), False),
        (Restarting(), False),
    ],
)
def test_once(loader: Any, once: bool) -> None:
    assert opened(loader).once is once


def test_a_generator_is_read_once() -> None:
    stream = opened(number for number in range(3))
    assert list(stream.epoch(0)) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"must start anew each time\. Received a generator") as e:
        stream.epoch(1)
    assert "Pass a DataLoader, a list, or an object whose __iter__" in str(e.value)


def test_a_generator_goes_on_in_a_later_epoch() -> None:
    stream = opened(number for number in range(3))
    stream.load_state_dict({"epoch": 2, "batch": 1})
    assert list(stream.epoch(2)) == [1, 2]


def test_an_iterator_that_starts_anew_is_read_again() -> None:
    stream = opened(Restarting())
    assert list(stream.epoch(0)) == list(stream.epoch(1)) == [2, 1, 0]


def test_nothing_is_read_before_the_first_batch() -> None:
    class Guarded:
        reads = 0

        def __iter__(self) -> Iterator[int]:
            self.reads += 1
            return iter([1])

    loader = Guarded()
    stream = opened(loader)
    assert stream.length is None
    batches = stream.epoch(0)
    assert loader.reads == 0
    assert list(batches) == [1]
    assert loader.reads == 1
    stream.close()
    opened(loader).close()


def test_every_part_hears_of_the_epoch_once() -> None:
    heard = []

    class Sampler(SequentialSampler):
        def set_epoch(self, epoch: int) -> None:
            heard.append(("sampler", epoch))

    class Batches(BatchSampler):
        def set_epoch(self, epoch: int) -> None:
            heard.append(("batch_sampler", epoch))

    class Data(Numbers):
        def set_epoch(self, epoch: int) -> None:
            heard.append(("dataset", epoch))

    data = Data()
    stream = opened(DataLoader(data, batch_sampler=Batches(Sampler(data), 2, False)))
    stream.epoch(3)
    assert sorted(heard) == [("batch_sampler", 3), ("dataset", 3), ("sampler", 3)]
    heard.clear()
    stream = opened(DataLoader(data, sampler=Sampler(data)))
    next(stream.epoch(1))
    assert sorted(heard) == [("dataset", 1), ("sampler", 1)]
    heard.clear()
    opened(DataLoader(Numbers(), sampler=RandomSampler(Numbers()))).epoch(0)
    assert heard == []


def test_an_epoch_that_hears_its_index_is_reproducible() -> None:
    sampler = torch.utils.data.DistributedSampler(Numbers(), num_replicas=1, rank=0, seed=1)
    stream = opened(DataLoader(Numbers(), batch_size=5, sampler=sampler))
    first, second = plain(stream.epoch(0)), plain(stream.epoch(1))
    assert first != second
    assert plain(stream.epoch(0)) == first


def worker_count() -> int:
    return len(multiprocessing.active_children())


@pytest.mark.parametrize("persistent", [False, True])
def test_closing_ends_the_workers(persistent: bool) -> None:
    gc.collect()
    before = worker_count()
    loader = DataLoader(Numbers(), num_workers=2, persistent_workers=persistent)
    stream = opened(loader)
    batches = stream.epoch(0)
    assert worker_count() == before
    held = next(batches), batches, loader._iterator  # as a traceback would hold them
    assert worker_count() == before + 2
    stream.close()
    assert worker_count() == before
    stream.close()
    assert list(held[1]) == []
    assert plain(stream.epoch(1)) == plain([torch.tensor([n]) for n in range(10)])
    stream.close()
    assert len(plain(loader)) == 10, "the loader is still the user's"
    opened(loader).close()
    assert worker_count() == before


@pytest.mark.parametrize("persistent", [False, True])
def test_an_epoch_left_early_leaves_no_workers_behind(persistent: bool) -> None:
    gc.collect()
    before = worker_count()
    stream = opened(DataLoader(Numbers(), num_workers=2, persistent_workers=persistent))
    kept = []
    for epoch in range(3):
        batches = stream.epoch(epoch)
        assert next(batches).tolist() == [0]
        kept.append(batches)
        assert worker_count() == before + 2
    assert list(stream.epoch(3))[-1].tolist() == [9]
    assert worker_count() == before + (2 if persistent else 0)
    stream.close()
    assert worker_count() == before


def test_an_error_in_a_worker_reaches_the_reader_and_workers_end() -> None:
    class Broken(Numbers):
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise LookupError("sample 3 is broken")
            return index

    gc.collect()
    before = worker_count()
    stream = opened(DataLoader(Broken(), num_workers=2))
    with pytest.raises(LookupError, match="sample 3 is broken") as error:
        list(stream.epoch(0))
    assert where(stream) == {"epoch": 0, "batch": 3}
    stream.close()
    assert worker_count() == before
    assert error.tb is not None


def test_closing_finishes_the_generator_a_loader_makes() -> None:
    ended = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(3)
        finally:
            ended.append(True)

    class Own:
        def __iter__(self) -> Iterator[int]:
            self.held = numbers()  # so that it is not closed by being collected
            return self.held

    stream = opened(Own())
    next(stream.epoch(0))
    stream.close()
    assert ended == [True]


def test_closing_leaves_the_users_generator_open() -> None:
    numbers = (number for number in range(3))
    stream = opened(numbers)
    assert next(stream.epoch(0)) == 0
    stream.close()
    assert list(numbers) == [1, 2]
