"""The lifecycle of a run: everything entered is torn down once, in reverse, whatever happens."""

import functools
import logging
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from lt_loop.hooks import HOOKS, check_arguments, overridden
from lt_loop.optimizers import read_optimizers
from lt_loop.run import Run

log = logging.getLogger("lt_loop")

Teardown = Callable[[], None]


class Lifecycle:
    """A context manager around the loop of one run.

    Entering prepares the data, sets up datamodule, callbacks and program in this order, makes the
    model and the optimizers, and hands both to the backend. Leaving closes the loaders and tears
    down whatever was set up, last first. An exception keeps its type and traceback; what goes
    wrong in a teardown after it is logged and noted on it.
    """

    def __init__(self, run: Run) -> None:
        """Remember the run."""
        self._run = run
        self._entered: list[Teardown] = []

    def __enter__(self) -> None:
        """Set everything up; on failure, tear down the part that was."""
        try:
            self._set_up()
        except BaseException as error:
            self._leave(error)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tear everything down."""
        self._leave(error)

    def _set_up(self) -> None:
        run, world = self._run, self._run.ports.world
        self._entered.append(run.sources.close)
        for prepare in _prepare_data(run):
            if world.local_rank == 0:
                prepare()
            world.barrier()
        for setup, teardown in _components(run):
            setup()
            self._entered.append(teardown)
        run.call("configure_model")
        if run.fn == "fit":
            where = f"{type(run.program).__name__}.configure_optimizers"
            returned = run.program.configure_optimizers()
            run.optimizers, run.schedules = read_optimizers(returned, where=where)
            _check_one_optimizer(run, where)
        run.optimizers = list(run.ports.backend.setup(run.program, run.optimizers))
        if run.fn == "fit":
            run.call("on_fit_start")

    def _leave(self, error: BaseException | None) -> None:
        run, failed = self._run, error
        if isinstance(error, GeneratorExit):
            run.finish("left by the caller")
            failed = None
        first_failure: Exception | None = None
        teardowns = self._entered[::-1]
        self._entered = []
        if failed is not None:
            cause = unwrapped(failed)
            run.finish(f"{type(cause).__name__}: {cause}")
            teardowns[:0] = [functools.partial(hook, cause) for hook in run.hooks["on_exception"]]
        for teardown in teardowns:
            try:
                teardown()
            except Exception as trouble:
                if failed is not None:
                    failed.add_note(f"Then a teardown failed too: {trouble!r}")
                    log.exception("a teardown failed after %r", failed)
                elif first_failure is None:
                    first_failure = trouble
                else:
                    first_failure.add_note(f"Another teardown failed too: {trouble!r}")
        run.logbook.page = None
        if first_failure is not None:
            raise first_failure


def unwrapped(error: BaseException) -> BaseException:
    """Return a StopIteration of the user's that a generator had to wrap, else the error itself."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
        return error.__cause__
    return error


def _prepare_data(run: Run) -> Iterator[Callable[[], Any]]:
    for owner in (run.sources.datamodule, run.program):
        if owner is not None and (method := overridden(owner, "prepare_data")):
            yield method


def _components(run: Run) -> Iterator[tuple[Callable[[], Any], Teardown]]:
    """Yield the setup and teardown of datamodule, callbacks and program."""
    datamodule, program = run.sources.datamodule, run.program
    if datamodule is not None:
        yield _hook(datamodule, "setup", run.fn), _hook(datamodule, "teardown", run.fn)
    for callback in run.callbacks:
        arguments = (run.trainer, program, run.fn)
        yield (
            functools.partial(callback.setup, *arguments),
            functools.partial(callback.teardown, *arguments),
        )
    yield _hook(program, "setup", run.fn), _hook(program, "teardown", run.fn)


def _hook(owner: Any, name: str, stage: str) -> Callable[[], Any]:
    method = overridden(owner, name)
    if method is None:
        return _nothing
    check_arguments(owner, HOOKS[name], method)
    return functools.partial(method, stage)


def _nothing() -> None:
    """Stand in for a hook that nobody wrote."""


def _check_one_optimizer(run: Run, where: str) -> None:
    if len(run.optimizers) == 1:
        return
    raise ValueError(
        f"One optimizer is stepped automatically. Received {len(run.optimizers)} from {where}. "
        "Give one optimizer several parameter groups."
    )
