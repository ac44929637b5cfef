"""Environment: what a launcher told this process about its place among others.

Processes that somebody else starts (torchrun, srun, mpirun, jsrun) learn who they are from
variables. :data:`LAUNCHERS` is the one table of them; reading it is a pure function of a mapping.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

Variables = Mapping[str, str]

LOOPBACK = "127.0.0.1"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The place of one process among all.

    Attributes:
        rank: this process among all, from 0.
        world_size: how many there are.
        local_rank: this process among those of its machine, from 0.
        local_size: how many there are on its machine; None where nobody said.
        node_rank: this machine among all, from 0.
        address: where rank 0 listens.
        port: on which port.
        by: who started the processes, with the variables that said so.
        restarts: how often the launcher started the group again.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int | None = None
    node_rank: int = 0
    address: str = LOOPBACK
    port: int = 29500
    by: str = ""
    restarts: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """The variables of one launcher.

    Attributes:
        name: as its users call it.
        signs: variables that are all there if, and only if, it started this process.
        rank, world_size, local_rank: one of these variables holds the number; the first counts.
        local_size, node_rank: likewise, but may be missing.
        address: how to find the machine of rank 0 where ``MASTER_ADDR`` is not set; returns None
            where that can't be told.
        job: a variable with the name of the job, from which all of its processes derive the same
            port where ``MASTER_PORT`` is not set.
    """

    name: str
    signs: tuple[str, ...]
    rank: tuple[str, ...]
    world_size: tuple[str, ...]
    local_rank: tuple[str, ...]
    local_size: tuple[str, ...] = ()
    node_rank: tuple[str, ...] = ()
    address: Callable[[Variables], str | None] = lambda _variables: None
    job: tuple[str, ...] = ()


def _slurm_address(variables: Variables) -> str | None:
    nodes = variables.get("SLURM_STEP_NODELIST") or variables.get("SLURM_JOB_NODELIST")
    return first_host(nodes) if nodes else None


def _lsf_address(variables: Variables) -> str | None:
    """Return the first machine that computes; the file's first line is the one that launches."""
    file = variables.get("LSB_DJOB_RANKFILE")
    hosts = Path(file).read_text(encoding="utf-8").split() if file and Path(file).exists() else []
    return hosts[1] if len(hosts) > 1 else None


LAUNCHERS: tuple[Launcher, ...] = (
    Launcher(
        name="torchrun",
        signs=("RANK", "WORLD_SIZE"),
        rank=("RANK",),
        world_size=("WORLD_SIZE",),
        local_rank=("LOCAL_RANK",),
        local_size=("LOCAL_WORLD_SIZE",),
        node_rank=("GROUP_RANK", "NODE_RANK"),
        job=("TORCHELASTIC_RUN_ID",),
    ),
    Launcher(
        name="srun (Slurm)",
        # SLURM_PROCID alone is set in a batch script too, where nobody started the others.
        signs=("SLURM_STEP_ID", "SLURM_PROCID"),
        rank=("SLURM_PROCID",),
        world_size=("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        local_rank=("SLURM_LOCALID",),
        node_rank=("SLURM_NODEID",),
        address=_slurm_address,
        job=("SLURM_JOB_ID",),
    ),
    Launcher(
        name="jsrun (LSF)",
        signs=("JSM_NAMESPACE_RANK",),
        rank=("JSM_NAMESPACE_RANK",),
        world_size=("JSM_NAMESPACE_SIZE",),
        local_rank=("JSM_NAMESPACE_LOCAL_RANK",),
        local_size=("JSM_NAMESPACE_LOCAL_SIZE",),
        address=_lsf_address,
        job=("LSB_JOBID",),
    ),
    Launcher(
        name="mpirun (Open MPI)",
        signs=("OMPI_COMM_WORLD_RANK",),
        rank=("OMPI_COMM_WORLD_RANK",),
        world_size=("OMPI_COMM_WORLD_SIZE",),
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK",),
        local_size=("OMPI_COMM_WORLD_LOCAL_SIZE",),
        job=("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
    ),
    Launcher(
        name="mpiexec (PMI)",
        signs=("PMI_RANK", "PMI_SIZE"),
        rank=("PMI_RANK",),
        world_size=("PMI_SIZE",),
        local_rank=("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
        local_size=("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
        job=("PMI_JOBID", "PMI_ID"),
    ),
)
"""Who starts processes, the first that fits counts: somebody may call torchrun under srun."""

PORTS = range(20_000, 32_000)
"""Where a port derived from the name of a job lies: below those the system hands out itself."""


def placement(variables: Variables, *, alone: bool = False) -> Placement | None:
    """Return the place that a launcher gave this process; None where nobody started others.

    Args:
        variables: the environment.
        alone: whether a group of one counts; otherwise there is nothing to join.

    Raises:
        ValueError: a launcher left something out that is needed, or it is no number.

    >>> place = placement({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1",
    ...                    "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29400"})
    >>> place.rank, place.world_size, place.address, place.by
    (1, 2, '10.0.0.1', 'torchrun (RANK=1, WORLD_SIZE=2)')
    """
    for launcher in LAUNCHERS:
        if all(sign in variables for sign in launcher.signs):
            size = _number(variables, launcher, launcher.world_size)
            return _placed(variables, launcher, size) if size > 1 or alone else None
    return None


def rank_of(variables: Variables) -> int:
    """Return the rank that a launcher gave this process, 0 where nobody started others.

    That takes less than a whole :func:`placement`: no address, no place on the machine.

    Raises:
        ValueError: it is no number.

    >>> rank_of({"RANK": "1", "WORLD_SIZE": "2"}), rank_of({})
    (1, 0)
    """
    for launcher in LAUNCHERS:
        if all(sign in variables for sign in launcher.signs):
            return _number(variables, launcher, launcher.rank)
    return 0


def _placed(variables: Variables, launcher: Launcher, size: int) -> Placement:
    rank = _number(variables, launcher, launcher.rank)
    local_size = _found(variables, launcher.local_size)
    count = int(local_size[1]) if local_size else None
    node = _found(variables, launcher.node_rank)
    if not 0 <= rank < size:
        raise ValueError(
            f"A rank lies below the number of processes. Received rank {rank} of {size} from "
            f"{launcher.name}. Check {launcher.rank[0]} and {launcher.world_size[0]}."
        )
    name, shown = launcher.rank[0], _found(variables, launcher.world_size)
    return Placement(
        rank=rank,
        world_size=size,
        local_rank=_number(variables, launcher, launcher.local_rank),
        local_size=count,
        node_rank=int(node[1]) if node else (rank // count if count else 0),
        address=_address(variables, launcher, alone=count == size),
        port=_port(variables, launcher),
        by=f"{launcher.name} ({name}={rank}, {shown[0] if shown else ''}={size})",
        restarts=int(variables.get("TORCHELASTIC_RESTART_COUNT", "0")),
    )


def _found(variables: Variables, names: tuple[str, ...]) -> tuple[str, str] | None:
    return next(((name, variables[name]) for name in names if variables.get(name)), None)


def _number(variables: Variables, launcher: Launcher, names: tuple[str, ...]) -> int:
    found = _found(variables, names)
    if found is None:
        raise ValueError(
            f"{launcher.name} says who this process is. Received {_said(variables, launcher)} and "
            f"no {' or '.join(names)}. Set it for each process, or start them with torchrun."
        )
    name, value = found
    if not value.isdecimal():
        raise ValueError(f"{name} is a whole number. Received {name}={value!r}. Set it to one.")
    return int(value)


def _said(variables: Variables, launcher: Launcher) -> str:
    return ", ".join(f"{sign}={variables[sign]}" for sign in launcher.signs)


def _address(variables: Variables, launcher: Launcher, *, alone: bool) -> str:
    address = variables.get("MASTER_ADDR") or launcher.address(variables)
    if address is None and alone:
        return LOOPBACK  # all of them are on this machine
    if address is None:
        raise ValueError(
            f"Processes meet at the address of rank 0. Received {_said(variables, launcher)} from "
            f"{launcher.name} and no address. Set MASTER_ADDR to the machine of rank 0."
        )
    return address


def _port(variables: Variables, launcher: Launcher) -> int:
    if port := variables.get("MASTER_PORT"):
        if not port.isdecimal():
            raise ValueError(f"MASTER_PORT is a whole number. Received MASTER_PORT={port!r}.")
        return int(port)
    job = _found(variables, launcher.job)
    # Two jobs that share a machine must not meet: the port follows from the job's name.
    return PORTS[zlib.crc32(job[1].encode()) % len(PORTS)] if job else 29500


def first_host(nodes: str) -> str:
    """Return the first machine of Slurm's list.

    >>> first_host("gpu[07-09,12],login1"), first_host("a1,a2"), first_host("rack[1-2]n[5,6]")
    ('gpu07', 'a1', 'rack1n5')
    """
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)
