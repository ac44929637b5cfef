"""The feed: opens loaders for an engine."""

from typing import Any, Protocol, final

from lt_data.admission import check_loader
from lt_data.stream import LoaderStream


class World(Protocol):
    """What a feed asks of the world: how many processes share the data."""

    @property
    def world_size(self) -> int:
        """How many processes there are."""


@final
class TorchFeed:
    """Opens torch DataLoaders, and any other iterable of batches."""

    def open(self, loader: Any, *, phase: str, world: World) -> LoaderStream:
        """Open a loader for one phase. Nothing is read from it yet.

        Args:
            loader: a DataLoader or an iterable of batches. If it is to be read more than once, its
                ``__iter__`` must start anew each time.
            phase: what the batches are for (``"train"``, say), to name the loader in messages.
            world: the processes that share the data. This version knows one.

        Raises:
            TypeError: the loader is nothing that yields batches.
            ValueError: there are several processes.
        """
        check_loader(loader, phase=phase)
        if world.world_size != 1:
            raise ValueError(
                "This version of lt-data feeds one process. Received "
                f"world_size={world.world_size}. Run one process, or pass Trainer(feed=...)."
            )
        return LoaderStream(loader, phase=phase)
