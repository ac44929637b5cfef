"""Opening: which reader reads a loader, which part of it, and from which seed."""

from typing import Any, Protocol, TypeVar, final

import torch
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from lt_data.dealing import Deal
from lt_data.orders import generators_of, samples_of, shards_itself
from lt_data.own_state import position_keeper
from lt_data.passing import PassingReader
from lt_data.readers import Reader, log
from lt_data.sampled import SampledReader
from lt_data.settings import Settings
from lt_data.workers import reads_like_torch

T = TypeVar("T")


class World(Protocol):
    """What a feed asks of the world: which processes share the data."""

    @property
    def rank(self) -> int:
        """This process among all, from 0."""

    @property
    def world_size(self) -> int:
        """How many processes there are."""

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return the object of rank ``src`` on every rank."""


@final
class Alone:
    """A world of one process."""

    rank = 0
    world_size = 1

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return the object."""
        del src
        return obj


def reader_of(loader: Any, *, phase: str, place: str, world: World, settings: Settings) -> Reader:
    """Return the reader of a loader.

    Args:
        loader: which one.
        phase: what its batches are for; ``"train"`` needs the same number in all processes.
        place: where it stands among others, for messages.
        world: the processes that share it.
        settings: how to read it.

    Raises:
        ValueError: it can't be read under these settings.
    """
    name, training = f"{phase}{place}", phase == "train"
    alone = world.world_size == 1 or shards_itself(loader)
    deal = Deal(training=training) if alone else Deal(world.rank, world.world_size, 1, training)
    reader: Reader
    if is_taken_over(loader, settings, alone=alone, name=name):
        reader = SampledReader(loader, name=name, place=deal, settings=settings)
    else:
        passing = PassingReader(loader, name=name, place=deal, settings=settings)
        if training and settings.on_unseekable == "error" and not passing.seeks:
            raise ValueError(
                "With on_unseekable='error' a position in the training data is reached without "
                f"reading up to it. Received a {type(loader).__name__}{place} that can't do that. "
                "Pass a DataLoader over a dataset with samples, or a loader with state_dict and "
                "load_state_dict."
            )
        reader = passing
    _tell_of_the_timeout(loader, name, settings)
    return reader


def is_taken_over(loader: Any, settings: Settings, *, alone: bool, name: str) -> bool:
    """Return whether a loader is read in an order of ours.

    Raises:
        ValueError: the order is to be torch's, which processes that share a loader don't agree on.
    """
    if not reads_like_torch(loader) or isinstance(loader.dataset, IterableDataset):
        return False
    if position_keeper(loader) is loader:
        return False
    if settings.order == "seeded":
        return True
    if alone:
        return False
    samples = samples_of(loader)
    if samples is None or type(samples[0]) is not SequentialSampler:
        raise ValueError(
            "With order='torch' each process draws an order of its own, so one that several "
            f"processes share is the dataset's. Received a {name} loader with a "
            f"{type(loader.sampler).__name__}. Pass it a DistributedSampler, or use "
            "order='seeded'."
        )
    return True


def seed_of(loader: Any, *, world: World, settings: Settings) -> tuple[int, bool]:
    """Return the seed of a loader, the same for all processes, and whether the user chose it.

    It is that of the generator that the user gave to the loader or its sampler, else that of the
    settings, else that of torch.
    """
    generators = generators_of(loader) if isinstance(loader, DataLoader) else []
    if generators:
        seed, chosen = generators[0].initial_seed(), True
    elif settings.seed is not None:
        seed, chosen = settings.seed, True
    else:
        seed, chosen = torch.initial_seed(), False
    return (seed if world.world_size == 1 else world.broadcast(seed)), chosen


def _tell_of_the_timeout(loader: Any, name: str, settings: Settings) -> None:
    workers = loader.num_workers if isinstance(loader, DataLoader) else 0
    if workers and settings.timeout and not loader.timeout:
        log.info(
            "The %d workers of the %s loader have %g seconds for a batch: after that the run ends "
            "with an error. TorchFeed(timeout=0) waits without end.",
            *(workers, name, settings.timeout),
        )
