"""A TensorDataset's batches, fetched at once: the bits, types and strides of torch's."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from lt_data import LoaderStream
from lt_data.tensor_rows import rows_of

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, torch.uint16,
]  # fmt: skip


def like(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs) is list
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        assert torch.equal(one, other)
        assert one.is_contiguous() == other.is_contiguous()


@settings(deadline=None, max_examples=200)
@given(
    shape=st.lists(st.integers(0, 3), max_size=4),
    size=st.integers(1, 12),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["as made", "transposed", "channels last", "strided", "expanded"]),
    nested=st.booleans(),
    data=st.data(),
)
def test_each_batch_is_that_of_torch(
    shape: list[int], size: int, dtype: torch.dtype, layout: str, nested: bool, data: Any
) -> None:
    tensor = (torch.rand([2 * size, *shape]) * 100).to(dtype)
    if layout == "transposed" and len(shape) > 1:
        tensor = tensor.transpose(1, 2)
    if layout == "channels last" and len(shape) == 3:
        tensor = tensor.to(memory_format=torch.channels_last)
    if layout == "strided":
        tensor = tensor[::2]
    if layout == "expanded":
        tensor = tensor[:1].expand(2 * size, *shape)
    dataset: Any = TensorDataset(tensor[:size], torch.arange(size))
    if nested:
        for _ in range(2):
            places = data.draw(st.lists(st.integers(-1, len(dataset) - 1), min_size=1, max_size=9))
            dataset = Subset(dataset, places)
    count = len(dataset)
    kind = data.draw(st.sampled_from(["list", "range", "tensor"]))
    keys: Any = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=9))
    if kind == "range":
        keys = range(min(keys), max(keys) + 1, data.draw(st.integers(1, 3)))
    rows = rows_of(dataset, default_collate)
    if layout == "as made" and not nested and dtype is not torch.uint16:
        assert rows is not None
    if rows is not None:
        given_keys = torch.tensor(keys) if kind == "tensor" else keys
        like(rows(given_keys), default_collate([dataset[key] for key in keys]))


@pytest.mark.parametrize("words", [{"shuffle": True}, {}, {"sampler": [-1, 0, 3]}])
@pytest.mark.parametrize("subset", [False, True])
def test_a_loader_gives_what_it_gives_by_itself(words: Any, subset: bool) -> None:
    data: Any = TensorDataset(torch.rand(10, 3), torch.arange(10))
    if subset:
        data = Subset(data, [7, 3, 1, 0, 2])
    assert rows_of(data, default_collate)
    stream = LoaderStream(DataLoader(data, 3, **words), phase="train")
    keys = [batch[1].tolist() for batch in stream.epoch(0)]
    places = {int(data[index][1]): index for index in range(len(data))}
    batches = [[places[key] for key in batch] for batch in keys]
    theirs = DataLoader(data, batch_sampler=batches)
    for ours, other in zip(stream.epoch(0), theirs, strict=True):
        like(ours, other)


def test_a_batch_is_a_copy() -> None:
    tensor = torch.zeros(4)
    for words in ({}, {"shuffle": True}):
        loader = DataLoader(TensorDataset(tensor), 2, **words)  # type: ignore[arg-type]
        for (batch,) in LoaderStream(loader, phase="train").epoch(0):
            batch += 1
    assert tensor.tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("dataset", "collate"),
    [
        (TensorDataset(torch.zeros(3)), list),
        ([torch.zeros(3)], default_collate),
        (TensorDataset(torch.zeros(3, requires_grad=True)), default_collate),
        (TensorDataset(torch.zeros(3, 2).t()[:2]), default_collate),
        (TensorDataset(torch.zeros(3, 2).to_sparse()), default_collate),
        (TensorDataset(torch.zeros(0)), default_collate),
        (Subset(TensorDataset(torch.zeros(3)), [-1]), default_collate),
        (Subset(TensorDataset(torch.zeros(3)), torch.tensor([0.5])), default_collate),  # type: ignore[arg-type]
        (Subset([1, 2], [0]), default_collate),  # type: ignore[arg-type]
        (type("Own", (TensorDataset,), {})(torch.zeros(3)), default_collate),
        (type("Own", (Subset,), {})(TensorDataset(torch.zeros(3)), [0]), default_collate),
    ],
)
def test_what_is_not_plain_is_fetched_sample_by_sample(dataset: Any, collate: Any) -> None:
    assert rows_of(dataset, collate) is None


def test_an_index_out_of_range_is_the_error_it_was() -> None:
    for data in (TensorDataset(torch.zeros(3)), Subset(TensorDataset(torch.zeros(3)), [0, 5])):
        with pytest.raises(IndexError):
            list(LoaderStream(DataLoader(data, sampler=[0, 1, 4]), phase="train").epoch(0))  # type: ignore[arg-type]
