"""Population: how many processes there are, who starts them, and where each computes.

A pure function of words, environment and devices, so that it can be tried out for clusters one does
not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from lt_accel.devices import Here, choose_devices
from lt_accel.environment import LOOPBACK, Placement, Variables, placement
from lt_accel.launching import Launch
from lt_accel.strategies import DDP, Strategy, TensorParallel


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The processes there will be.

    Attributes:
        devices: where the processes of this machine compute, by local rank.
        strategy: how the program is spread over them; None for one process.
        place: this process among them, where somebody else started it.
        how: how we start them otherwise; holds the times to wait in any case.
        why_devices, why_world: the reasons.
    """

    devices: Sequence[torch.device]
    strategy: Strategy | None
    place: Placement | None
    how: Launch | None
    why_devices: str
    why_world: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The words that say how many processes there are, as they were given.

    Attributes:
        accelerator, devices: see :func:`lt_accel.devices.choose_devices`.
        num_nodes: machines; None where it was not said.
        strategy: what was said.
        spread: the strategy that it means; None for one of one device.
        max_restarts: how often a group of ours is started again.
    """

    accelerator: Any
    devices: Any
    num_nodes: int | None
    strategy: Any
    spread: Strategy | None
    max_restarts: int


def populate(wanted: Wanted, variables: Variables, here: Here) -> Population:
    """Return the processes there will be.

    Args:
        wanted: the words.
        variables: the environment, of which only a launcher's variables are read.
        here: the devices of this machine.

    Raises:
        TypeError: a word is of a type that can't be one.
        ValueError: words contradict each other, the environment or the machine.
    """
    place = None if wanted.strategy == "single_device" else placement(variables)
    several = place is not None or wanted.spread is not None
    chosen = choose_devices(wanted.accelerator, wanted.devices, here, several=several)
    if place is not None:
        return _started_by_others(wanted, place, chosen.devices, chosen.reason)
    nodes = wanted.num_nodes or 1
    total = len(chosen.devices) * nodes
    if wanted.spread is None and total == 1:
        return _alone(wanted, chosen.devices, chosen.reason)
    if wanted.strategy == "single_device":
        raise ValueError(
            "strategy='single_device' is one process on one device. Received "
            f"{_counts(wanted)}. Drop one of them."
        )
    strategy = _strategy(wanted, chosen.devices, total)
    return Population(
        devices=chosen.devices,
        strategy=strategy,
        place=None,
        how=_launch(wanted, strategy, len(chosen.devices), variables),
        why_devices=chosen.reason,
        why_world=f"{_processes(total)} to start by {strategy.start_method}: {_counts(wanted)}",
    )


def _alone(wanted: Wanted, devices: Sequence[torch.device], reason: str) -> Population:
    if wanted.max_restarts:
        raise ValueError(
            "max_restarts is for processes that are started for a run. Received "
            f"max_restarts={wanted.max_restarts} and strategy={wanted.strategy!r} with one device. "
            "Use strategy='ddp', which starts one too."
        )
    return Population(
        devices=devices,
        strategy=None,
        place=None,
        how=None,
        why_devices=reason,
        why_world="one process: one device",
    )


def _started_by_others(
    wanted: Wanted, place: Placement, visible: Sequence[torch.device], reason: str
) -> Population:
    nodes, devices = wanted.num_nodes, wanted.devices
    asked = len(visible) * (nodes or 1)
    # "auto" takes what the launcher made; a number is the user's word against it.
    if devices != "auto" and asked != place.world_size:
        raise ValueError(
            "devices times num_nodes is the number of processes. Received "
            f"{_counts(wanted)}, which is {asked}, and {place.world_size} processes from "
            f"{place.by}. Change one of them; strategy='single_device' leaves the others alone."
        )
    if nodes is not None and place.world_size % nodes:
        raise ValueError(
            f"Each machine runs as many processes. Received num_nodes={nodes}, and "
            f"{place.world_size} processes from {place.by}. Change one of them."
        )
    if wanted.max_restarts:
        raise ValueError(
            "Processes are started again by whoever started them. Received "
            f"max_restarts={wanted.max_restarts}, and processes from {place.by}. Use the option of "
            "that launcher: torchrun --max-restarts."
        )
    strategy = _strategy(wanted, visible, place.world_size)
    local = place.local_size or max(len(visible), place.local_rank + 1)
    return Population(
        devices=_by_local_rank(visible, place, local),
        strategy=strategy,
        place=place,
        how=Launch(processes=local, timeout=strategy.timeout, hang_timeout=strategy.hang_timeout),
        why_devices=reason,
        why_world=f"rank {place.rank} of {place.world_size}: started by {place.by}",
    )


def _by_local_rank(
    visible: Sequence[torch.device], place: Placement, local: int
) -> Sequence[torch.device]:
    """Return a device for each local rank.

    A launcher may show each process one GPU alone, which is then every rank's first.
    """
    if visible[0].type == "cpu" or len(visible) == 1:
        return [visible[0]] * local
    if place.local_rank >= len(visible):
        raise ValueError(
            "Each process of a machine has a device of its own. Received local rank "
            f"{place.local_rank} from {place.by}, and {len(visible)} devices. Start fewer "
            "processes on each machine."
        )
    return visible


def _strategy(wanted: Wanted, devices: Sequence[torch.device], total: int) -> Strategy:
    """Return the strategy for so many processes.

    Raises:
        ValueError: the device can't be shared, or the sizes of a mesh don't fit.
    """
    strategy = DDP() if wanted.spread is None else wanted.spread
    kind = devices[0].type
    if kind == "mps":
        raise ValueError(
            "torch can't connect processes on mps. Received "
            f"strategy={wanted.strategy!r} and accelerator={wanted.accelerator!r}. Use "
            "accelerator='cpu', or strategy='auto' with devices=1."
        )
    if isinstance(strategy, TensorParallel):
        nodes = wanted.num_nodes or 1
        strategy.sizes(total // nodes, nodes)
    return strategy


def _launch(wanted: Wanted, strategy: Strategy, processes: int, variables: Variables) -> Launch:
    nodes = wanted.num_nodes or 1
    start_method: Any = strategy.start_method
    address, port, node_rank = LOOPBACK, 0, 0
    if nodes > 1:
        names = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
        if missing := [name for name in names if not variables.get(name)]:
            raise ValueError(
                "Each machine of several is told which it is, and where the first one listens. "
                f"Received num_nodes={nodes} and no {', '.join(missing)}. Set these variables, or "
                "start the script with torchrun or srun."
            )
        if wanted.max_restarts:
            raise ValueError(
                "max_restarts is for the processes of one machine. Received max_restarts="
                f"{wanted.max_restarts} and num_nodes={nodes}. Use torchrun --max-restarts."
            )
        address = variables["MASTER_ADDR"]
        node_rank, port = (_whole(variables, name) for name in ("NODE_RANK", "MASTER_PORT"))
        if node_rank >= nodes:
            raise ValueError(
                f"Machines are counted from 0. Received NODE_RANK={node_rank} and "
                f"num_nodes={nodes}. Change one of them."
            )
    return Launch(
        processes=processes,
        num_nodes=nodes,
        node_rank=node_rank,
        address=address,
        port=port,
        start_method=start_method,
        max_restarts=wanted.max_restarts,
        timeout=strategy.timeout,
        hang_timeout=strategy.hang_timeout,
    )


def _whole(variables: Variables, name: str) -> int:
    if not variables[name].isdecimal():
        raise ValueError(f"{name} is a whole number. Received {name}={variables[name]!r}.")
    return int(variables[name])


def _counts(wanted: Wanted) -> str:
    nodes = "" if wanted.num_nodes is None else f" and num_nodes={wanted.num_nodes}"
    return f"devices={wanted.devices!r}{nodes}"


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"
