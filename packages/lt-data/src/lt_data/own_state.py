"""Own state: which part of a loader keeps a state by itself, and what that state says."""

from typing import Any

from torch.utils.data import IterableDataset


def position_keeper(loader: Any) -> Any:
    """Return what keeps the position of a loader: itself, or its dataset; None where nothing does.

    Of a DataLoader with workers the datasets are in the workers, out of reach. A dataset with
    samples keeps no position, whatever its state is: the sampler decides what comes next.
    """
    if _has_state(loader):
        return loader
    dataset = _dataset_in_reach(loader)
    return None if dataset is None or _has_samples(dataset) else dataset


def state_of_samples(loader: Any) -> Any:
    """Return the dataset with samples that has a state beside the position; None without one."""
    dataset = _dataset_in_reach(loader)
    return dataset if dataset is not None and _has_samples(dataset) else None


def _dataset_in_reach(loader: Any) -> Any:
    dataset, workers = getattr(loader, "dataset", None), getattr(loader, "num_workers", 0)
    return dataset if dataset is not None and not workers and _has_state(dataset) else None


def _has_samples(dataset: Any) -> bool:
    return not isinstance(dataset, IterableDataset) and hasattr(type(dataset), "__getitem__")


def _has_state(part: Any) -> bool:
    return all(callable(getattr(part, name, None)) for name in ("state_dict", "load_state_dict"))
