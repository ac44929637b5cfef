"""Readers: how one loader is read through one epoch, from any position in it.

A position counts units of the epoch's global order: samples, where a DataLoader makes batches of
them, else batches.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from lt_data.dealing import Deal

log = logging.getLogger("lt_data")
log.addHandler(logging.NullHandler())


class Reader(ABC):
    """Reads one loader.

    Attributes:
        deal: which part of the order this process takes.
        unit: what a position counts, ``"samples"`` or ``"batches"``.
    """

    deal: Deal
    unit: str

    @property
    @abstractmethod
    def units(self) -> int | None:
        """Units in an epoch, over all processes; None where that is not known."""

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Batches of this process in an epoch; None where that is not known."""

    @abstractmethod
    def begin(self, word: int, position: int) -> Iterator[Any]:
        """Begin to read, workers included.

        Args:
            word: the same for the same seed and epoch.
            position: the units that were handed out already.

        Returns:
            The batches of this process after them.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Return what shapes the order of the data, as plain data."""

    def capture(self) -> Any:
        """Return the state that the loader keeps by itself; None where it keeps none."""
        return None

    def restore(self, state: Any, *, ended: bool) -> None:
        """Give the loader its state back; the next epoch that begins goes on from it.

        Args:
            state: what :meth:`capture` returned.
            ended: whether the loader had come to its end then.
        """
        del state, ended

    def exhausted(self) -> bool:
        """Return whether nothing comes after the batch read last, as far as is known by now."""
        return False

    @abstractmethod
    def end(self) -> None:
        """Let go of an epoch that was not read to its end; persistent workers stay."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, and wait for their end."""
