"""Loaders in order: the same samples in the same batches, however often they are read."""

import copy
from collections.abc import Sequence
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
)

from lt_data.combined_loader import CombinedLoader
from lt_data.structure import is_collection, structure_of
from lt_data.workers import without_workers


def in_order(loader: Any) -> Any:
    """Return a loader that gives the same batches in each epoch; the loader itself if it does.

    A DataLoader's sampler that draws at random gives way to one that goes through the dataset in
    its order, or through the subset that the sampler stands for. The loader is copied, not
    changed. What has no order to know of is returned as it is: an iterable dataset, a batch
    sampler of the user's own, any iterable that is no DataLoader. Of a collection or a
    :class:`~lt_data.CombinedLoader`, each loader is put in order.
    """
    if isinstance(loader, CombinedLoader):
        parts = loader.flattened
        ordered = [in_order(part) for part in parts]
        if _alike(parts, ordered):
            return loader
        combined = copy.copy(loader)
        combined.flattened = ordered
        return combined
    if is_collection(loader):
        structure = structure_of(loader)
        ordered = [in_order(part) for part in structure.loaders]
        return loader if _alike(structure.loaders, ordered) else structure.build(ordered)
    return _loader_in_order(loader) if isinstance(loader, DataLoader) else loader


def _alike(before: Sequence[Any], after: Sequence[Any]) -> bool:
    return all(one is other for one, other in zip(before, after, strict=True))


def _loader_in_order(loader: DataLoader[Any]) -> DataLoader[Any]:
    batches = loader.batch_sampler
    if isinstance(loader.dataset, IterableDataset) or type(batches) not in (
        BatchSampler,
        type(None),
    ):
        return loader
    sampler = _sampler_in_order(loader)
    if sampler is loader.sampler:
        return loader
    ordered = without_workers(copy.copy(loader))
    replaced: dict[str, Any] = {"sampler": sampler}
    if isinstance(batches, BatchSampler):
        replaced["batch_sampler"] = BatchSampler(sampler, batches.batch_size, batches.drop_last)
    vars(ordered).update(replaced)  # past the loader's own check that nobody sets them later
    return ordered


def _sampler_in_order(loader: DataLoader[Any]) -> Any:
    sampler: Any = loader.sampler
    if isinstance(sampler, SequentialSampler | Sequence):
        return sampler
    if isinstance(sampler, SubsetRandomSampler):
        return list(sampler.indices)
    if isinstance(sampler, DistributedSampler):
        if not sampler.shuffle:
            return sampler
        sampler = copy.copy(sampler)
        sampler.shuffle = False
        return sampler
    return SequentialSampler(loader.dataset)  # type: ignore[arg-type]  # it has a length
