"""Dealing: which part of the order of all samples each process takes."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Deal:
    """How rounds of the global order are dealt out to the processes, a batch to each.

    A round is ``world_size * size`` consecutive units: samples, or the batches of a batch sampler,
    of which ``size`` is 1.

    In training each process takes its equal, consecutive part, so that all of them together see
    what one process with a batch size of ``world_size * size`` sees. What is left at the end is
    split as evenly as possible; where it has fewer units than there are processes, those without
    one repeat one of it: all have the same number of batches.

    In evaluation a process takes every ``world_size``-th unit: none is missing, none taken twice,
    and one process may have a batch more than another. With ``drop_last``, what is left at the end
    is dealt out in full batches, so that all processes together see the units that one process
    with batches of ``size`` sees.

    Attributes:
        rank: this process among all.
        world_size: how many processes there are.
        size: units in a batch.
        training: whether all processes must have the same number of batches.
        drop_last: whether what does not fill a round, or in evaluation one more batch, is left out.
    """

    rank: int = 0
    world_size: int = 1
    size: int = 1
    training: bool = True
    drop_last: bool = False

    @property
    def round(self) -> int:
        """Units in a round."""
        return self.world_size * self.size

    def share(self, count: int) -> slice | None:
        """Return which of the ``count`` units of a round, 1 or more, are this process's.

        None where there are none for it; then the epoch is over.

        >>> [Deal(rank, 2, 3).share(5) for rank in (0, 1)]
        [slice(0, 3, 1), slice(3, 5, 1)]
        >>> [Deal(rank, 3, 3).share(2) for rank in (0, 1, 2)]
        [slice(0, 1, 1), slice(1, 2, 1), slice(0, 1, 1)]
        >>> Deal(1, 2, 3, training=False).share(5)
        slice(1, 5, 2)
        >>> Deal(0, 2, 3, training=False, drop_last=True).share(5)
        slice(0, 3, 1)
        """
        if not self.training:
            takers = self.world_size
            if self.drop_last:
                takers = count // self.size
                count = takers * self.size
            return slice(self.rank, count, takers) if self.rank < min(takers, count) else None
        if count < self.round and self.drop_last:
            return None
        each, more = divmod(count, self.world_size)
        if each == 0 and self.rank >= more:
            repeated = self.rank % count
            return slice(repeated, repeated + 1, 1)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more), 1)

    def batches(self, count: int) -> int:
        """Return how many batches this process gets out of ``count`` units.

        >>> Deal(0, 2, 3).batches(13), Deal(0, 2, 3, drop_last=True).batches(13)
        (3, 2)
        """
        rounds, rest = divmod(max(count, 0), self.round)
        return rounds + (1 if rest and self.share(rest) is not None else 0)
