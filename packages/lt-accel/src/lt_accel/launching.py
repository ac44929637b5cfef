"""Launching: a group of processes of our own, from start to result, through torch's launcher.

``elastic_launch`` starts functions, not scripts: nothing is run a second time, and a notebook will
do. With the start method ``fork`` the processes begin as copies of this one, so that whatever the
function holds need not be pickled.

What it lacks is here: the first failure is raised in the caller, survivors that don't listen are
killed after :data:`GRACE` seconds, hanging ranks say where they hang, and signals are handed on.
"""

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final

import torch

from lt_accel import failures
from lt_accel.board import Board
from lt_accel.environment import LOOPBACK
from lt_accel.hanging import Silent, hung
from lt_accel.membership import is_up
from lt_accel.ranks import RESULT, STACK_SIGNAL, Enters, Job, run_packed, run_rank
from lt_accel.scratch import scratch_folder
from lt_accel.supervision import (
    MARGIN,
    Supervisor,
    VanishedError,
    handing_on_signals,
    left_to_torch,
    taken_over,
)

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

T = TypeVar("T")

StartMethod = Literal["fork", "spawn", "forkserver"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a group of processes is started.

    Attributes:
        processes: how many on this machine.
        num_nodes: how many machines; each of them calls :func:`launch`.
        node_rank: which of them this is, from 0.
        address, port: where the first machine listens, with several.
        start_method: ``"fork"``, ``"spawn"`` or ``"forkserver"``, as in ``multiprocessing``.
        max_restarts: how often the group is started again after a rank has failed.
        timeout: how long to wait for other machines.
        hang_timeout: seconds without a sign of life that count as hanging; None for any number.
    """

    processes: int
    num_nodes: int = 1
    node_rank: int = 0
    address: str = LOOPBACK
    port: int = 0
    start_method: StartMethod = "fork"
    max_restarts: int = 0
    timeout: timedelta = timedelta(minutes=30)
    hang_timeout: float | None = 600.0


def launch(how: Launch, main: Callable[[], T], world: Enters) -> T:
    """Run ``main`` in every process of a new group; return what it returned on the first of them.

    Raises:
        BaseException: the first failure of a rank, as it was raised there.
        RankError: a rank ended without an exception, or with one that can't be pickled.
        RuntimeError: processes can't be started from here.
    """
    refuse_to_start(how.start_method)
    with scratch_folder() as folder:
        first, asked = _run_group(how, main, world, folder)
        if first is None:
            # What our own rank wrote, in a folder that nobody else may enter.
            result: T = torch.load(folder / RESULT, weights_only=False)
            return result
    if isinstance(first, failures.RankError):
        for number in asked:
            if first.exit_code == -number:  # it was meant for all of us
                signal.raise_signal(number)
    raise first


def _run_group(
    how: Launch, main: Callable[[], Any], world: Enters, folder: Path
) -> tuple[BaseException | None, set[signal.Signals]]:
    """Run a group to its end; return the first failure, and the signals that were handed on."""
    # A third of a second to import, which only those pay who start processes.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import elastic_launch  # noqa: PLC0415

    board = Board(folder / "board", how.processes)
    signals = taken_over()
    job = Job(
        main=main,
        world=world,
        folder=folder,
        board=board,
        launcher=os.getpid(),
        signals=(*signals, *left_to_torch()),
        hang_timeout=_own_limit(how.hang_timeout),
        threads=1 if how.start_method == "fork" else int(os.environ.get("OMP_NUM_THREADS", "1")),
    )
    packed = b"" if how.start_method == "fork" else _packed(job)
    supervisor = Supervisor(board, folder, hang_timeout=how.hang_timeout)
    first: BaseException | None = None
    watched = handing_on_signals(supervisor, signals)
    with _environment(job.threads), _quiet_fork(), supervisor, watched:
        try:
            config = _config(how, folder)
            if how.start_method == "fork":
                elastic_launch(config, run_rank)(job)
            else:
                elastic_launch(config, run_packed)(packed)
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            first = _first_failure(codes, supervisor, how, folder)
        except VanishedError:
            first = _first_failure({}, supervisor, how, folder)
    return first, supervisor.asked


def _packed(job: Job) -> bytes:
    """Pickle what a rank is given; each gets a copy.

    Not as torch's own pickling would, which puts tensors into memory that all processes share:
    every rank would train the same weights at once.

    Raises:
        TypeError: it can't be pickled.
    """
    try:
        return pickle.dumps(job)
    except (AttributeError, TypeError, RuntimeError, pickle.PicklingError) as error:
        raise TypeError(
            "Processes that are not forked get everything pickled: what runs, and in a training "
            "the trainer, its module, callbacks and loaders. Received something that can't be: "
            f"{error}. Define its class or function at the top of a module, or start by fork "
            "(strategy='ddp')."
        ) from error


def _own_limit(hang_timeout: float | None) -> float | None:
    """Return when a rank's own watchdog acts: after the launcher, who sees all of them."""
    if hang_timeout is None or STACK_SIGNAL is None:
        return hang_timeout
    return hang_timeout + MARGIN


def refuse_to_start(start_method: StartMethod) -> None:
    """Refuse where processes can't be started.

    Raises:
        RuntimeError: this process is a rank already, has used a GPU that a fork can't share, or
            runs on a system that can't fork.
    """
    if is_up():
        raise RuntimeError(
            "A group is started from outside of any other. Received a process in which "
            "torch.distributed is initialised. Destroy that group first, or use it by starting "
            "the script with torchrun."
        )
    if start_method not in multiprocessing.get_all_start_methods():
        raise RuntimeError(
            f"start_method={start_method!r} needs a system that has it. Received {sys.platform}. "
            "Use strategy='ddp_spawn', or start the script with torchrun."
        )
    if start_method == "fork":
        for kind in ("cuda", "xpu"):
            if getattr(torch, kind).is_initialized():
                raise RuntimeError(
                    f"A process that has used a GPU can't be forked. Received one in which {kind} "
                    "is initialised, by a tensor on it, say. Start before touching the GPU, start "
                    "the script with torchrun, or use strategy='ddp_spawn'."
                )


def _config(how: Launch, folder: Path) -> "LaunchConfig":
    """Return torch's words for it."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig  # noqa: PLC0415

    several = how.num_nodes > 1
    seconds = int(how.timeout.total_seconds())
    known = {field.name for field in fields(LaunchConfig)}
    signals = ",".join(number.name for number in left_to_torch())
    newer: dict[str, Any] = {"signals_to_handle": signals, "shutdown_timeout": 10}
    return LaunchConfig(
        min_nodes=how.num_nodes,
        max_nodes=how.num_nodes,
        nproc_per_node=how.processes,
        run_id=f"lt-{how.port}" if several else uuid.uuid4().hex,
        rdzv_backend="static" if several else "c10d",
        rdzv_endpoint=f"{how.address}:{how.port}",
        rdzv_configs={"timeout": seconds, **({"rank": how.node_rank} if several else {})},
        max_restarts=how.max_restarts,
        start_method=how.start_method,
        local_addr=None if several else how.address,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
        **{word: value for word, value in newer.items() if word in known},
    )


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Set what torch's launcher and a spawned process read, and put it back."""
    changes = {"OMP_NUM_THREADS": str(threads)}
    touched = {*changes, "TORCHELASTIC_SIGNALS_TO_HANDLE"}  # torch's launcher sets this one
    before = {name: os.environ.get(name) for name in touched}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet_fork() -> Iterator[None]:
    """Leave out Python's warning that a process with threads is forked: ours only waits."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        yield


def _first_failure(
    codes: Mapping[int, int], supervisor: Supervisor, how: Launch, folder: Path
) -> BaseException:
    """Return what began it: an exception, a rank that hung, one that was killed.

    Args:
        codes: exit codes by rank, as far as torch's launcher tells them.
        supervisor: who watched.
        how: the launch.
        folder: where ranks wrote down what happened to them.
    """
    ranks, first_rank = how.processes * how.num_nodes, how.node_rank * how.processes
    attempt = max((int(path.name.split("-")[1]) for path in folder.glob("stack-*")), default=0)
    records = failures.records(folder, attempt)
    primary = records[0] if records and not records[0].secondary else None
    if how.hang_timeout is not None and (found := _silent(supervisor, attempt, folder)):
        seconds, silent = found
        if primary is None or seconds < primary.seconds:
            silent = [replace(one, rank=first_rank + one.rank) for one in silent]
            return hung(silent, ranks, how.hang_timeout)
    if primary is not None:
        return failures.raised(primary, ranks)
    # Whom torch found, unless that one only followed: its own record says so, or we ended it.
    followed = {record.rank for record in records}
    followed |= {first_rank + row for when, row in supervisor.ended if when == attempt}
    for rank, code in codes.items():
        if rank not in followed:
            return failures.died(rank, ranks, code)
    if attempt in supervisor.vanished:
        row, seen = supervisor.vanished[attempt]
        return failures.died(first_rank + row, ranks, seen)
    if records:
        return failures.raised(records[0], ranks)
    rank, code = next(iter(codes.items()))
    return failures.died(rank, ranks, code)


def _silent(
    supervisor: Supervisor, attempt: int, folder: Path
) -> tuple[float, list[Silent]] | None:
    """Return who was silent and when that was found, by rows; None where nobody was.

    By the launcher's own look, or else by what the watchdog of the first rank wrote down.
    """
    if attempt in supervisor.hung:
        return supervisor.hung[attempt]
    paths = [path for path in folder.glob(f"stack-{attempt}-*") if path.stat().st_size]
    if not paths:
        return None
    first = min(paths, key=lambda path: path.stat().st_mtime)
    row = int(first.name.split("-")[2])
    silent = Silent(rank=row, age=math.inf, inside=False, stack=first.read_text())
    return first.stat().st_mtime, [silent]
