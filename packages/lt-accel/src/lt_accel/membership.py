"""Membership: this process as one rank of a group, and how it talks to the others."""

import pickle
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast, final

import torch
import torch.distributed as dist

from lt_accel.agreement import Agreement, OnTheBoard, OverTheGroup
from lt_accel.board import Pulse
from lt_accel.environment import Placement

T = TypeVar("T")

Reduction = Literal["mean", "sum", "min", "max"]

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl", "xpu": "cpu:gloo,xpu:xccl"}
"""What carries tensors of a device, and of the CPU beside it."""

OPERATIONS = {
    "mean": dist.ReduceOp.SUM,
    "sum": dist.ReduceOp.SUM,
    "min": dist.ReduceOp.MIN,
    "max": dist.ReduceOp.MAX,
}


@final
class Channel:
    """The ranks over a gloo group that one thread has to itself.

    Collectives of a group are matched by their order, which two threads would mix up. What waits
    here gives no sign of life: the training beside it does.
    """

    def __init__(self, group: Any, *, rank: int, world_size: int) -> None:
        """Take a group."""
        self._group = group
        self.rank, self.world_size = rank, world_size

    def gather(self, obj: T) -> list[T]:
        """Return everybody's object, pickled on the way."""
        return _gathered(obj, self._group, self.world_size)

    def close(self) -> None:
        """Give the group up."""
        if dist.is_initialized():  # else it went with all others
            dist.destroy_process_group(self._group)


@final
class Membership:
    """One rank of a group that is up.

    Tensors of the program travel over torch's default group: NCCL on CUDA, gloo on a CPU. What the
    world itself has to say travels over a gloo group of its own, so that it neither waits for a GPU
    nor gets in the way of gradients.

    Attributes:
        agree: returns the greatest code of the call before, once the rank has joined.
    """

    agree: Agreement

    def __init__(self, place: Placement, pulse: Pulse) -> None:
        """Take a place, with :meth:`join` or after it."""
        self.place, self.pulse = place, pulse
        self._control: Any = None
        self._store: Any = None
        self._timeout: timedelta | None = None

    def join(
        self, device: torch.device, *, backend: str | None, timeout: timedelta, elastic: bool
    ) -> None:
        """Meet the others; returns when all are here.

        Args:
            device: where this rank computes.
            backend: what carries tensors; None for what suits the device.
            timeout: how long to wait for others, here and in every collective.
            elastic: whether torch's launcher started this process and keeps the meeting point.
        """
        place, words = self.place, cast(dict[str, Any], {})
        if device.type == "cuda":
            torch.cuda.set_device(device)
            words["device_id"] = device
        meeting = dist.TCPStore(  # type: ignore[attr-defined]
            place.address,
            place.port,
            is_master=not elastic and place.rank == 0,
            timeout=timeout,
            wait_for_workers=False,
        )
        # A launcher's meeting point outlives the group: one that is started again must not read the
        # addresses of the one before.
        self._store = dist.PrefixStore(f"lt/{place.restarts}", meeting)  # type: ignore[attr-defined]
        dist.init_process_group(
            backend or BACKENDS.get(device.type, "gloo"),
            store=self._store,
            rank=place.rank,
            world_size=place.world_size,
            timeout=timeout,
            **words,
        )
        self._control, self._timeout = dist.new_group(backend="gloo", timeout=timeout), timeout
        shares_memory = self.pulse.board.ranks == place.world_size
        self.agree = (
            OnTheBoard(self.pulse, timeout=timeout.total_seconds())
            if shares_memory
            else OverTheGroup(self.pulse, self._control)
        )

    def leave(self) -> None:
        """Take the group down. Called by all ranks, after a barrier."""
        if dist.is_initialized():
            dist.destroy_process_group()
        self._control = self._store = None

    def count(self, name: str, more: int) -> int:
        """Add to a number that all ranks share; return what it is then. Waits for no rank."""
        return int(self._store.add(name, more))

    def reduce(self, values: Sequence[float], op: Reduction) -> list[float]:
        """Combine each value over all ranks, in double precision."""
        numbers = torch.tensor(list(values), dtype=torch.float64)
        with self.pulse:
            dist.all_reduce(numbers, op=OPERATIONS[op], group=self._control)
        if op == "mean":
            numbers /= self.place.world_size
        return cast(list[float], numbers.tolist())

    def broadcast(self, obj: T, src: int) -> T:
        """Return the object of rank ``src``, pickled on the way."""
        mine = src == self.place.rank
        data = bytearray(pickle.dumps(obj)) if mine else bytearray()
        size = torch.tensor([len(data)])
        with self.pulse:
            dist.broadcast(size, src, group=self._control)
            if not mine:
                data = bytearray(int(size))
            dist.broadcast(_bytes(data), src, group=self._control)
        return obj if mine else cast(T, pickle.loads(data))

    def gather(self, obj: T) -> list[T]:
        """Return everybody's object, pickled on the way."""
        with self.pulse:
            return _gathered(obj, self._control, self.place.world_size)

    def barrier(self) -> None:
        """Wait for everybody."""
        with self.pulse:
            dist.barrier(group=self._control)

    def beside(self) -> Channel:
        """Open a channel for another thread; called by all ranks at the same time."""
        with self.pulse:
            group = dist.new_group(backend="gloo", timeout=self._timeout)
        return Channel(group, rank=self.place.rank, world_size=self.place.world_size)


def _gathered(obj: T, group: Any, size: int) -> list[T]:
    data = pickle.dumps(obj)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(size)]
    dist.all_gather(sizes, torch.tensor([len(data)]), group=group)
    longest = max(map(int, sizes))
    boxes = [bytearray(longest) for _ in sizes]
    mine = bytearray(data.ljust(longest, b"\0"))
    dist.all_gather([_bytes(box) for box in boxes], _bytes(mine), group=group)
    return [cast(T, pickle.loads(box)) for box in boxes]  # past its end pickle does not read


def _bytes(data: bytearray) -> torch.Tensor:
    """Return a tensor that shares the memory of some bytes.

    torch's own exchange of objects needs numpy, which this package does without.
    """
    return torch.frombuffer(data, dtype=torch.uint8)


def is_up() -> bool:
    """Return whether this process is in a group already, ours or another."""
    return dist.is_available() and dist.is_initialized()
