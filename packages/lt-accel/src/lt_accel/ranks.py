"""Ranks: what runs in a process that we started."""

import faulthandler
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import torch

from lt_accel import failures
from lt_accel.board import Board, Column, Pulse, State
from lt_accel.cell import show_in_cell
from lt_accel.environment import Placement, placement
from lt_accel.watchdog import Watchdog, die_with_parent

PATIENCE = 2.0
"""Seconds that a rank whose neighbour is gone waits before it ends too, so that the launcher, which
looks ten times a second, finds the one that began it."""

PARTING = 5.0
"""Seconds that a rank which was told to end waits for the others to end with it; longer while one
of them saves."""


class Enters(Protocol):
    """What a rank enters: the world, as a rank sees it."""

    def enter(self, place: Placement, pulse: Pulse, *, elastic: bool) -> None:
        """Join the group."""

    def leave(self) -> None:
        """Leave it."""

    def barrier(self) -> None:
        """Wait for the others."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a launcher gives to its ranks.

    Attributes:
        main: what to run.
        world: whom to tell that this process is a rank.
        folder: where result and failures go.
        board: who is alive.
        launcher: the process that started this one.
        signals: those that the launcher answers itself.
        hang_timeout: seconds without a sign of life that count as hanging; None for any number.
        threads: how many torch computes with, on a CPU.
    """

    main: Callable[[], Any]
    world: Enters
    folder: Path
    board: Board
    launcher: int
    signals: tuple[signal.Signals, ...]
    hang_timeout: float | None
    threads: int = 1


def run_rank(job: Job) -> None:
    """Run a job as the rank that the environment says this is.

    Ends the process with code 1 where the job fails; the failure is in the folder then.
    """
    # Garbage of before the fork is not this process's to collect: to end a store of torch, say, is
    # to wait for a thread that did not come along.
    gc.freeze()
    # The launcher's own answers to signals came along with the fork; these are Python's.
    for number in {*job.signals, signal.SIGTERM}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with_parent()
    _leave_pool()
    if os.getppid() != job.launcher:
        os._exit(1)  # it died before it could be watched
    # Ctrl-C goes to the launcher alone, which hands it on once; and who asks for a password at the
    # terminal is refused, where a process in its background would be stopped.
    os.setsid()
    show_in_cell()
    if (job.folder / STOPPED).exists():
        sys.exit(1)  # nobody wants this restart any more
    place = placement(os.environ, alone=True)
    assert place is not None  # torch's launcher has said so
    pulse = Pulse(job.board, place.local_rank)
    _write_down_signals(job.folder / f"heard-{place.restarts}-{place.local_rank}")
    job.board.begin(place.local_rank, place.restarts)
    torch.set_num_threads(job.threads)
    stack = (job.folder / f"stack-{place.restarts}-{place.local_rank}").open("w")
    if STACK_SIGNAL is not None:
        faulthandler.register(STACK_SIGNAL, file=stack)
    with stack, Watchdog(pulse, limit=job.hang_timeout, parent=job.launcher, stack=stack):
        try:
            job.world.enter(place, pulse, elastic=True)
            result = job.main()
            job.world.barrier()
            if place.local_rank == 0:
                _bring_back(result, job.folder / RESULT)
            job.world.leave()
        except BaseException as error:
            _fail(job, place, pulse, explained(error))
        job.board.set(place.local_rank, Column.STATE, State.DONE)


FORKED = ("Unable to handle autograd's threading", "Cannot re-initialize CUDA in forked")
"""How torch begins to say that a process should not have been forked."""


def explained(error: BaseException) -> BaseException:
    """Return what to say instead of torch's words about a fork; other errors as they are.

    Autograd starts a thread for each GPU that torch sees when it is first used, on a CPU too.
    """
    if not isinstance(error, RuntimeError) or not str(error).startswith(FORKED):
        return error
    clear = RuntimeError(
        "A process that has used a GPU can't be forked, nor one that sees a GPU and has computed a "
        f"gradient on whatever device. Received a fork of such a one, of which torch says: {error} "
        "Start ranks before that, start the script with torchrun, or use strategy='ddp_spawn'. "
        "With CUDA_VISIBLE_DEVICES='' a process sees no GPU."
    )
    clear.__cause__ = error
    return clear


def _leave_pool() -> None:
    """Let this thread be the main one alone, where it was a worker of a pool before the fork.

    Python joins the workers of thread pools when a process ends, by a list that came along; a
    thread can't join itself, and a rank whose work was done would fail.
    """
    workers = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", {})
    workers.pop(threading.current_thread(), None)


def run_packed(job: bytes) -> None:
    """Run a job that came pickled."""
    run_rank(pickle.loads(job))


def _write_down_signals(path: Path) -> None:
    """Let each signal that Python code answers here be written down at the moment it comes.

    Not those of processes that are forked from this one, such as workers.
    """
    heard = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
    signal.set_wakeup_fd(heard, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


def signals_heard(folder: Path, attempt: int, row: int) -> bytes:
    """Return the numbers of the signals that a rank has heard so far, in order."""
    path = folder / f"heard-{attempt}-{row}"
    return path.read_bytes() if path.exists() else b""


def _bring_back(result: Any, path: Path) -> None:
    """Write down what ``main`` returned; a file, because a pipe holds little.

    Raises:
        TypeError: it can't be pickled.
    """
    try:
        torch.save(result, path)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise TypeError(
            "What a launch returns travels from rank 0 to its caller, and can be pickled. Received "
            f"{type(result).__name__}: {error}. Return plain data and tensors."
        ) from error


STACK_SIGNAL = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else None
"""Upon it, a rank writes its stack down. One that nobody else uses, where the system has them."""

RESULT = "result"
STOPPED = "stopped"
"""Files in a job's folder: what rank 0 returned; that somebody asked the launcher to stop."""


def _leave_together(board: Board, row: int, pulse: Pulse) -> None:
    """Wait for the others, who were told to end too: rank 0 may still be about its checkpoints.

    Once one is gone, torch's launcher sends the others a SIGTERM: to them the second signal, which
    ends them at once.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    board.set(row, Column.STATE, State.LEAVING)
    until = time.monotonic() + PARTING
    others = [other for other in range(board.ranks) if other != row]
    while any(board.get(other, Column.STATE) == State.RUNNING for other in others):
        pulse.beat()
        busy = any(board.get(other, Column.BUSY) for other in others)
        if time.monotonic() > until and not busy:
            break
        time.sleep(0.02)


def _fail(job: Job, place: Placement, pulse: Pulse, error: BaseException) -> None:
    """Write a failure down and end the process."""
    record = failures.record_of(error, place.rank, waiting=pulse.inside)
    failures.write(record, job.folder, place.restarts)
    if record.secondary:
        time.sleep(PATIENCE)
    elif isinstance(error, KeyboardInterrupt | SystemExit) and (job.folder / STOPPED).exists():
        _leave_together(job.board, place.local_rank, pulse)
    job.board.set(place.local_rank, Column.STATE, State.FAILED)
    for child in multiprocessing.active_children():
        if child.daemon:  # workers of loaders, whom Python would end on a longer way out
            child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)  # past whatever would wait for the others
