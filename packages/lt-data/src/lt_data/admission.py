"""Admission: what may be read as a loader, and what the others should have been."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Sampler


def check_loader(loader: Any, *, phase: str, place: str = "") -> None:
    """See that an object can be read as batches, without reading from it.

    Args:
        loader: the object.
        phase: what kind of loader it is to be, for the message.
        place: where it stands among others, for the message.

    Raises:
        TypeError: it can't; the message says what to pass instead.
    """
    rule = f"A {phase} loader is an iterable of batches."
    kind, at = type(loader).__name__, f" at {place}" if place else ""
    if isinstance(loader, type):
        raise TypeError(
            f"{rule} Received the class {loader.__name__}{at}. "
            f"Make an instance: {loader.__name__}(...)."
        )
    if isinstance(loader, IterableDataset):
        raise TypeError(
            f"{rule} Received the dataset {kind}{at}, which yields samples. Wrap it: "
            "DataLoader(dataset, batch_size=...), or batch_size=None if it yields whole batches."
        )
    if isinstance(loader, Dataset):
        raise TypeError(
            f"{rule} Received the dataset {kind}{at}, which holds samples. Wrap it: "
            "DataLoader(dataset, batch_size=...)."
        )
    if isinstance(loader, Sampler):
        raise TypeError(
            f"{rule} Received the sampler {kind}{at}, which yields indices. Pass it to a "
            "DataLoader: DataLoader(dataset, sampler=...), or batch_sampler=... ."
        )
    if advice := _advice(loader):
        raise TypeError(f"{rule} Received {_shown(loader)}{at}. {advice}")


def _advice(loader: Any) -> str | None:
    """Return what to pass instead; None for what may be a loader."""
    if isinstance(loader, str | bytes):
        return "Pass the DataLoader itself, or a list of batches."
    if isinstance(loader, Tensor) or hasattr(type(loader), "__array__"):
        return (
            "Its rows look like samples: wrap it, DataLoader(TensorDataset(...), batch_size=...). "
            "If they are whole batches, pass list(...) of it."
        )
    if hasattr(type(loader), "__getitems__"):  # how torch asks a dataset for several samples
        return "It is a dataset: wrap it in a DataLoader."
    if isinstance(loader, Mapping):
        return "It holds several loaders: pass CombinedLoader(...) of it, or one of its values."
    if hasattr(type(loader), "__iter__"):
        return None
    if callable(getattr(loader, "train_dataloader", None)):
        return "Pass it as datamodule=... ."
    if hasattr(type(loader), "__getitem__"):
        return "It has items but no __iter__, as a dataset: wrap it in a DataLoader."
    if callable(loader):
        return "Call it, and pass what it returns."
    return "Pass a DataLoader or a list of batches."


def _shown(loader: Any) -> str:
    if isinstance(loader, str | bytes | int | float | None):
        return repr(loader)
    return f"an object of type {type(loader).__name__}"
