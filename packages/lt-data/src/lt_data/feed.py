"""The feed: opens loaders for an engine."""

from typing import Any, Protocol, final

from lt_data.admission import check_loader
from lt_data.combined_loader import CombinedLoader
from lt_data.combined_stream import CombinedStream
from lt_data.in_order import in_order
from lt_data.stream import LoaderStream
from lt_data.structure import is_collection


class World(Protocol):
    """What a feed asks of the world: how many processes share the data."""

    @property
    def world_size(self) -> int:
        """How many processes there are."""


@final
class TorchFeed:
    """Opens torch DataLoaders, collections of them, and any other iterable of batches."""

    def open(self, loader: Any, *, phase: str, world: World) -> LoaderStream | CombinedStream:
        """Open a loader for one phase. Nothing is read from it yet.

        Args:
            loader: a DataLoader or an iterable of batches. If it is to be read more than once, its
                ``__iter__`` must start anew each time. A collection of loaders (see
                :func:`lt_data.structure.is_collection`) is read as one, like
                ``CombinedLoader(loader, "max_size_cycle")``.
            phase: what the batches are for (``"train"``, say), to name the loader in messages.
            world: the processes that share the data. This version knows one.

        Raises:
            TypeError: the loader is nothing that yields batches.
            ValueError: there are several processes, or loaders can't be read as one.
        """
        if not isinstance(loader, CombinedLoader) and is_collection(loader):
            loader = CombinedLoader(loader, "max_size_cycle")
        check_loader(loader, phase=phase)
        if world.world_size != 1:
            raise ValueError(
                "This version of lt-data feeds one process. Received "
                f"world_size={world.world_size}. Run one process, or pass Trainer(feed=...)."
            )
        if isinstance(loader, CombinedLoader):
            return CombinedStream(loader, phase=phase)
        return LoaderStream(loader, phase=phase)

    def in_order(self, loader: Any) -> Any:
        """Return a loader without its shuffling: what ``overfit_batches`` asks for.

        See :func:`lt_data.in_order.in_order`.
        """
        return in_order(loader)
