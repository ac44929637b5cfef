"""The feed: opens loaders for an engine."""

from typing import Any, final

from lt_data.admission import check_loader
from lt_data.combined_loader import CombinedLoader
from lt_data.combined_stream import CombinedStream
from lt_data.in_order import in_order
from lt_data.opening import World
from lt_data.settings import OnUnseekable, Ordering, Settings
from lt_data.stream import LoaderStream
from lt_data.structure import is_collection


@final
class TorchFeed:
    """Opens torch DataLoaders, collections of them, and any other iterable of batches.

    The order of a DataLoader's samples is a function of (seed, epoch, position), and each sample's
    random numbers (Python's, numpy's and torch's) too: with any number of workers, before and after
    a resume. Reading draws nothing from the global generators.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        order: Ordering = "seeded",
        on_unseekable: OnUnseekable = "warn",
        timeout: float = 300.0,
        seed_samples: bool = True,
    ) -> None:
        """Settle how loaders are read.

        Args:
            seed: where orders and random numbers come from. By default ``torch.initial_seed()``
                when a loader is opened, that of rank 0 for all. A loader's own ``generator``
                decides for it instead; a position that is gone on from brings its seed along.
            order: ``"seeded"``, or ``"torch"``: DataLoaders draw from torch's global generator as
                by themselves, and are read up to a position.
            on_unseekable: of a training loader that has to be read up to a position, ``"warn"``
                says so once when it is; ``"error"`` refuses to open it.
            timeout: seconds within which the workers of a DataLoader without a timeout of its own
                hand over a batch; then an error says which one hangs. 0 waits without end.
            seed_samples: False for data that draws nothing at random, to save the seeding of each
                sample (8 µs). What does draw then draws as under torch.

        Raises:
            TypeError: a number is none.
            ValueError: a choice is none of those there are, or the time is negative.
        """
        self._settings = Settings(
            seed=seed,
            order=order,
            on_unseekable=on_unseekable,
            timeout=timeout,
            seed_samples=seed_samples,
        )

    def open(self, loader: Any, *, phase: str, world: World) -> LoaderStream | CombinedStream:
        """Open a loader for one phase, on this rank. Nothing is read from it yet.

        Args:
            loader: a DataLoader or an iterable of batches. If it is to be read more than once, its
                ``__iter__`` must start anew each time. A collection of loaders (see
                :func:`lt_data.structure.is_collection`) is read as one, like
                ``CombinedLoader(loader, "max_size_cycle")``.
            phase: what the batches are for. Of ``"train"``, all ranks get the same number of
                batches. Of any other, each sample is read by one rank, and by no other.
            world: the processes that share the data. What shards itself (a ``DistributedSampler``)
                is read whole.

        Raises:
            TypeError: the loader is nothing that yields batches.
            ValueError: loaders can't be read as one, or not under the settings of this feed.
        """
        if not isinstance(loader, CombinedLoader) and is_collection(loader):
            loader = CombinedLoader(loader, "max_size_cycle")
        check_loader(loader, phase=phase)
        stream = CombinedStream if isinstance(loader, CombinedLoader) else LoaderStream
        return stream(loader, phase=phase, world=world, settings=self._settings)

    def in_order(self, loader: Any) -> Any:
        """Return a loader without its shuffling: what ``overfit_batches`` asks for.

        See :func:`lt_data.in_order.in_order`.
        """
        return in_order(loader)
