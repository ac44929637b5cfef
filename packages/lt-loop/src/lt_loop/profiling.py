"""Profiling: where the time of a run goes, for whoever asks; at no cost for whoever does not.

A profiler is told when an action begins and when it ends. Which functions tell it is settled when
a run is planned: with a profiler its hooks, its steps and what it asks of backend and feed are
wrapped; without one the run holds the very functions it would hold if there were no profilers.

Actions are called ``[Kind]Owner.method``:

=========================================  ====================================================
action                                     what is timed
=========================================  ====================================================
``[Module]Model.training_step``            a step or a hook of the program
``[Callback]EarlyStopping.on_fit_start``   a hook of a callback, by its ``state_key``
``[DataModule]Data.prepare_data``          a hook of the datamodule
``[Backend]TorchBackend.backward``         placing, gradients, clipping, stepping, reading numbers
``[Feed]TorchFeed.train_dataloader``       making and opening the loaders of a stage
``[Feed]TorchFeed.train_dataloader_next``  waiting for a batch
``run_training_batch``                     one batch, from its step to the optimizer's
=========================================  ====================================================

They nest: ``run_training_batch`` holds ``training_step`` and ``backward``.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from typing import Any, Protocol, cast, final, runtime_checkable

from lt_loop.discovery import require
from lt_loop.ports import Backend, Feed, Fn, Phase, Stream

TRAINING_BATCH = "run_training_batch"

BACKEND = ("place", "zero_grad", "backward", "clip", "step", "read", "capture", "restore")
"""The methods of a backend that are timed: all that compute or wait in the course of a run."""


@runtime_checkable
class Profiler(Protocol):
    """The port behind ``Trainer(profiler=...)``: told when actions begin and end.

    Announced by entry points of the group ``lt.profilers``, each a class that is made without
    arguments. The names of the parameters are Lightning's.

    A profiler that has a method ``watch(program)`` is also handed the program, after :meth:`setup`.
    """

    def setup(
        self,
        stage: str,
        local_rank: int | None = None,
        log_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Begin the record of a run.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.
            local_rank: this process among all, from 0.
            log_dir: where files go by default. Turning it into a path makes a logger choose its
                folder; leave it alone where nothing is written.
        """

    def start(self, action_name: str) -> None:
        """Note that an action begins."""

    def stop(self, action_name: str) -> None:
        """Note that an action ends, also by an exception."""

    def profile(self, action_name: str) -> AbstractContextManager[Any]:
        """Return a context manager around an action: what user code calls."""

    def summary(self) -> str:
        """Return the report of the run under way, or of the last one."""

    def describe(self) -> None:
        """Show the report, or write it where it was asked for. Called once, at the end of a run."""

    def teardown(self, stage: str | None) -> None:
        """End the record of a run. Called last, also after an exception."""


@final
class PassThroughProfiler:
    """The profiler of a trainer without one: user code may call it, the engine never does."""

    def setup(
        self,
        stage: str,
        local_rank: int | None = None,
        log_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Do nothing."""

    def start(self, action_name: str) -> None:
        """Do nothing."""

    def stop(self, action_name: str) -> None:
        """Do nothing."""

    def profile(self, action_name: str) -> AbstractContextManager[str]:
        """Return a context manager that does nothing."""
        return nullcontext(action_name)

    def summary(self) -> str:
        """Return nothing: nothing was recorded."""
        return ""

    def describe(self) -> None:
        """Do nothing."""

    def teardown(self, stage: str | None) -> None:
        """Do nothing."""


def choose_profiler(given: Any) -> Profiler:
    """Return the profiler that was passed ready-made, or is announced under the name given.

    Raises:
        LookupError: no installed package announces that name.
        TypeError: it is neither a name nor a profiler.
    """
    if given is None:
        return PassThroughProfiler()
    if isinstance(given, str):
        made: Any = require("lt.profilers", given, wanted_by=f"Trainer(profiler={given!r})")()
        return check_profiler(made)
    return check_profiler(given)


def check_profiler(given: Any) -> Profiler:
    """Check that an object satisfies the port.

    Raises:
        TypeError: it is a class, or lacks methods, which are named.
    """
    if isinstance(given, type):
        raise TypeError(
            f"profiler is an object. Received the class {given.__name__}. "
            f"Make an instance: {given.__name__}(...)."
        )
    members = [name for name in vars(Profiler) if not name.startswith("_")]
    if lacks := [name for name in members if not callable(getattr(given, name, None))]:
        raise TypeError(
            "profiler is None, 'simple', 'advanced', 'pytorch', or an object with the methods of "
            f"the port Profiler. Received {given!r} of type {type(given).__name__}, which lacks "
            f"{', '.join(lacks)}. See lt_loop.profiling."
        )
    return cast(Profiler, given)


@final
class Profiling:
    """The profiling of one run: what wraps its functions, and begins and ends the record.

    Attributes:
        on: whether there is a profiler; where there is none, every function is handed back.
    """

    def __init__(self, profiler: Profiler, *, program: Any, datamodule: Any) -> None:
        """Remember whose functions will be wrapped."""
        self.on = not isinstance(profiler, PassThroughProfiler)
        self._recording = False
        self._profiler = profiler
        self._program, self._datamodule = program, datamodule

    def timed(self, fn: Fn, action: str) -> Fn:
        """Return a function that is recorded as an action; ``fn`` itself without a profiler."""
        if not self.on:
            return fn
        start, stop = self._profiler.start, self._profiler.stop

        def profiled(*arguments: Any, **words: Any) -> Any:
            if not self._recording:  # a backend is asked for numbers after the run, too
                return fn(*arguments, **words)
            start(action)
            try:
                return fn(*arguments, **words)
            finally:
                stop(action)

        return cast(Fn, profiled)

    def hook(self, method: Fn, name: str, owner: Any) -> Fn:
        """Return a hook or step of the program, the datamodule or a callback, recorded as such."""
        return self.timed(method, self._action(name, owner)) if self.on else method

    def _action(self, name: str, owner: Any) -> str:
        if owner is self._program:
            return f"[Module]{type(owner).__name__}.{name}"
        if owner is self._datamodule:
            return f"[DataModule]{type(owner).__name__}.{name}"
        return f"[Callback]{owner.state_key}.{name}"

    def backend(self, backend: Backend) -> Backend:
        """Return a backend whose methods are recorded."""
        if not self.on:
            return backend
        kind = type(backend).__name__
        methods = {
            name: self.timed(getattr(backend, name), f"[Backend]{kind}.{name}") for name in BACKEND
        }
        return cast(Backend, _Wrapped(backend, methods))

    def feed(self, feed: Feed) -> Feed:
        """Return a feed whose batches are recorded as they are waited for."""
        if not self.on:
            return feed

        def opened(loader: Any, *, phase: Phase, **words: Any) -> Stream:
            stream = feed.open(loader, phase=phase, **words)
            next_batch = self.timed(next, f"{loaders_of(feed, phase)}_next")

            def epoch(index: int) -> Iterator[Any]:
                batches = iter(stream.epoch(index))
                return map(next_batch, repeat(batches))  # ends where next() does

            return cast(Stream, _Wrapped(stream, {"epoch": epoch}))

        return cast(Feed, _Wrapped(feed, {"open": opened}))

    def begin(self, stage: str, *, rank: int, trainer: Any) -> None:
        """Begin the record of the run."""
        if not self.on:
            return
        self._profiler.setup(stage=stage, local_rank=rank, log_dir=_LogFolder(trainer))
        self._recording = True
        if watch := getattr(self._profiler, "watch", None):
            watch(self._program)

    def end(self, stage: str) -> None:
        """Show the report and end the record, if it was begun."""
        if not self._recording:
            return
        self._recording = False
        try:
            self._profiler.describe()
        finally:
            self._profiler.teardown(stage=stage)


def loaders_of(feed: Feed, phase: Phase) -> str:
    """Return the action in which the loaders of a phase are opened.

    >>> from lt_loop.solo import IterableFeed
    >>> loaders_of(IterableFeed(), "validate")
    '[Feed]IterableFeed.val_dataloader'
    """
    kind = type(feed.inner if isinstance(feed, _Wrapped) else feed).__name__
    return f"[Feed]{kind}.{'val' if phase == 'validate' else phase}_dataloader"


@final
class _Wrapped:
    """An object some of whose methods are replaced; everything else is its own."""

    def __init__(self, inner: Any, methods: dict[str, Callable[..., Any]]) -> None:
        self.inner = inner
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)


@final
class _LogFolder(os.PathLike[str]):
    """The folder of a trainer's logs, asked for when somebody writes.

    A logger whose version was left open chooses it when it is asked for its folder. Asked too
    early, two processes that start at the same moment choose the same.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def __fspath__(self) -> str:
        return str(self._trainer.log_dir)
