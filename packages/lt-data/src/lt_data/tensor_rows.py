"""Tensor rows: batches of a TensorDataset, each by one indexing."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset, default_collate

Rows = Callable[[Any], list[Tensor]]


def rows_of(dataset: Any, collate: Any) -> Rows | None:
    """Return what fetches the batch of some keys at once, or None where one by one is the way.

    It is for a TensorDataset, or a subset of one, whose samples are put together by torch's default
    and whose tensors are dense, contiguous and not trained. The batches are those that
    ``default_collate`` makes, to the bit, type and stride.
    """
    places: Tensor | None = None
    while type(dataset) is Subset:
        indices = _as_indices(dataset.indices)
        if indices is None or (len(indices) and int(indices.min()) < 0):
            return None
        try:
            places = indices if places is None else indices[places]
        except IndexError:
            return None  # as it would fail sample by sample
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset or collate is not default_collate:
        return None
    tensors = dataset.tensors
    if not len(dataset) or not all(map(_is_plain, tensors)) or not _same(dataset):
        return None

    def rows(keys: Any) -> list[Tensor]:
        if places is None and isinstance(keys, range):
            part = slice(keys.start, keys.stop, keys.step)
            return [t[part].clone(memory_format=torch.contiguous_format) for t in tensors]
        found = _as_indices(keys)
        if found is None:  # keys that are no numbers from 0 on
            return default_collate([dataset[key] for key in _named(keys, places)])  # type: ignore[no-any-return]
        found = found if places is None else places[found]
        return [t.index_select(0, found.to(t.device)) for t in tensors]

    return rows


def _named(keys: Any, places: Tensor | None) -> list[Any]:
    return list(keys) if places is None else [int(places[key]) for key in keys]


def _as_indices(keys: Any) -> Tensor | None:
    """Return keys as a tensor; None where they are anything but numbers from 0 on."""
    if isinstance(keys, Tensor):
        return keys if keys.dtype == torch.int64 and keys.dim() == 1 else None
    if isinstance(keys, range):
        return torch.arange(keys.start, keys.stop, keys.step)
    keys = list(keys)
    if not all(type(key) is int for key in keys) or (keys and min(keys) < 0):
        return None
    return torch.tensor(keys, dtype=torch.int64)


def _is_plain(tensor: Tensor) -> bool:
    return (
        type(tensor) is Tensor
        and tensor.layout is torch.strided
        and not (tensor.is_quantized or tensor.is_nested or tensor.requires_grad)
        and not (tensor.is_conj() or tensor.is_neg())
        and tensor.is_contiguous()
    )


def _same(dataset: TensorDataset) -> bool:
    """Return whether one sample, fetched either way, is laid out the same."""
    first = torch.zeros(1, dtype=torch.int64)
    try:
        ours = [tensor.index_select(0, first.to(tensor.device)) for tensor in dataset.tensors]
    except (NotImplementedError, RuntimeError):
        return False  # not for this type of number
    theirs = default_collate([dataset[0]])
    return all(
        one.stride() == other.stride() and one.dtype == other.dtype
        for one, other in zip(ours, theirs, strict=True)
    )
