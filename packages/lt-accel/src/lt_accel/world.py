"""Worlds: which other processes there are, and how ranks talk to each other."""

import atexit
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar, final

import torch

from lt_accel.board import Board, Pulse
from lt_accel.environment import Placement
from lt_accel.launching import Launch, launch
from lt_accel.membership import Channel, Membership, Reduction
from lt_accel.watchdog import Watchdog

T = TypeVar("T")


@final
class SingleProcess:
    """The world of a process without others: rank 0 of 1."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node_rank: int = 0
    num_nodes: int = 1
    restarts: int = 0

    def launch(self, main: Callable[[], T]) -> T:
        """Call ``main`` here and return its result."""
        return main()

    def agree(self, code: int) -> int:
        """Return the code: there is nobody to agree with."""
        return code

    def reduce(
        self, values: Sequence[float], op: Literal["mean", "sum", "min", "max"]
    ) -> list[float]:
        """Return the values: one rank has nothing to combine."""
        return list(values)

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return the object."""
        return obj

    def gather(self, obj: T) -> list[T]:
        """Return the object alone."""
        return [obj]

    def barrier(self) -> None:
        """Do nothing: everybody is here."""


@final
class TorchWorld:
    """Several processes, each of them a rank of torch.distributed.

    Either somebody else has started them (torchrun, srun, mpirun), and this process is one of them
    already; or :meth:`launch` starts them. Until then, ``rank`` is 0.

    Outside of :meth:`launch` there is no group, and whatever needs one is refused.

    Attributes:
        restarts: how often the group was started again after a rank had failed.
        devices: where each rank of this machine computes.
    """

    def __init__(
        self,
        devices: Sequence[torch.device | str],
        *,
        place: Placement | None = None,
        how: Launch | None = None,
        process_group_backend: str | None = None,
    ) -> None:
        """Describe a world, without starting anything.

        Args:
            devices: where the ranks of one machine compute, by local rank.
            place: the place of this process, where somebody else started it.
            how: how to start processes, and how long to wait for them.
            process_group_backend: what carries tensors; None for what suits the devices.
        """
        self.devices = [torch.device(device) for device in devices]
        self._how = Launch(processes=len(self.devices)) if how is None else how
        self._outside = place
        self._backend = process_group_backend
        self._membership: Membership | None = None
        self._elastic = place is not None and place.by.startswith("torchrun")
        size = len(self.devices) * self._how.num_nodes
        self._place = place or Placement(
            rank=0, world_size=size, local_rank=0, node_rank=self._how.node_rank
        )

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a spawned process without what belongs to this one."""
        return {**self.__dict__, "_membership": None}

    @property
    def rank(self) -> int:
        """This process among all, from 0."""
        return self._place.rank

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return self._place.world_size

    @property
    def local_rank(self) -> int:
        """This process among those of its machine, from 0."""
        return self._place.local_rank

    @property
    def node_rank(self) -> int:
        """This machine among all, from 0."""
        return self._place.node_rank

    @property
    def num_nodes(self) -> int:
        """How many machines there are."""
        return max(1, self.world_size // len(self.devices))

    @property
    def restarts(self) -> int:
        """How often the group was started again after a rank had failed."""
        return self._place.restarts

    @property
    def starts_processes(self) -> bool:
        """Whether :meth:`launch` runs its function in other processes than this one."""
        return self._outside is None and self._membership is None

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        return self.devices[self.local_rank % len(self.devices)]

    @property
    def is_up(self) -> bool:
        """Whether this process is in the group."""
        return self._membership is not None

    @property
    def pulse(self) -> Pulse:
        """The signs of life of this rank."""
        return (self._membership or self._group()).pulse

    def launch(self, main: Callable[[], T]) -> T:
        """Run ``main`` in every process, and return rank 0's result to the caller.

        Where this process is a rank already, ``main`` runs here, and its own result is returned.

        Raises:
            BaseException: the first exception of a rank, with its traceback as a note.
            RankError: a rank was killed, left or hung.
            RuntimeError: processes can't be started from here.
        """
        if self._membership is not None:
            return main()
        if self._outside is None:
            return launch(self._how, main, self)
        pulse = Pulse(Board(None, 1), 0)
        pulse.board.begin(0)
        limit = self._how.hang_timeout
        with Watchdog(pulse, limit=limit, parent=None, stack=sys.__stderr__ or sys.stderr):
            self.enter(self._outside, pulse, elastic=self._elastic)
            atexit.register(self.leave)  # the group outlives this run: there may be another one
            return main()

    def enter(self, place: Placement, pulse: Pulse, *, elastic: bool) -> None:
        """Join the group, as a rank of it: what a rank that was launched does first."""
        self._place = place
        membership = Membership(place, pulse)
        membership.join(
            self.device, backend=self._backend, timeout=self._how.timeout, elastic=elastic
        )
        self._membership = membership

    def leave(self) -> None:
        """Leave the group."""
        if self._membership is not None:
            self._membership.leave()
            self._membership = None

    def agree(self, code: int) -> int:
        """Return the greatest code that any rank gave at the call before; 0 at the first one.

        All ranks get the same answer at the same call, and none waits for a device.
        """
        return (self._membership or self._group()).agree(code)

    def count(self, name: str, more: int) -> int:
        """Add to a number that all ranks share; return what it is then. Waits for no rank."""
        return self._group().count(name, more)

    def reduce(self, values: Sequence[float], op: Reduction) -> list[float]:
        """Combine each value over all ranks; every rank gets the result."""
        return self._group().reduce(values, op)

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return the object of rank ``src`` on every rank."""
        return self._group().broadcast(obj, src)

    def gather(self, obj: T) -> list[T]:
        """Return the objects of all ranks, in their order, on every rank."""
        return self._group().gather(obj)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self._group().barrier()

    def busy(self) -> AbstractContextManager[None]:
        """Return a block that may take longer than ``hang_timeout``, as a save that is watched."""
        return self._group().pulse.busy()

    def beside(self) -> Channel:
        """Open a channel on which another thread can gather, as a save beside the training does.

        Every rank calls it at the same time, and closes what it got.
        """
        return self._group().beside()

    def _group(self) -> Membership:
        if self._membership is None:
            raise RuntimeError(
                f"Ranks talk to each other within launch. Received a call outside of it, in a "
                f"world of {self.world_size}. Pass what calls it to world.launch(...)."
            )
        return self._membership
