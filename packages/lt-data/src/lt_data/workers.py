"""Worker processes of a DataLoader, ended when they are no longer needed.

Torch ends them when the loader's iterator is collected, which a traceback that holds it puts off
for as long as it is held itself. There is no public way to do it at once, so this module, and no
other, uses private names of torch (the same from 2.4 to 2.13).
"""

# ruff: noqa: SLF001

from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter


def is_loader_iterator(iterator: Any) -> bool:
    """Return whether this is what ``iter()`` makes of a DataLoader."""
    return isinstance(iterator, _BaseDataLoaderIter)


def end_workers_of(iterator: Any) -> None:
    """End the workers that serve one iterator, unless they are to serve the next one too."""
    if isinstance(iterator, _MultiProcessingDataLoaderIter) and not iterator._persistent_workers:
        iterator._shutdown_workers()


def end_persistent_workers(loader: Any) -> None:
    """End the workers that a DataLoader keeps; when it is read again, it starts new ones."""
    if not isinstance(loader, DataLoader):
        return
    iterator = loader._iterator
    if isinstance(iterator, _MultiProcessingDataLoaderIter):
        iterator._shutdown_workers()
        loader._iterator = None  # a reader would wait forever for workers that are gone


def without_workers(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Let the copy of a loader forget the workers that serve the original, and return it."""
    loader._iterator = None
    return loader
