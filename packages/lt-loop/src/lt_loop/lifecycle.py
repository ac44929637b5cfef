"""The lifecycle of a run: everything entered is torn down once, in reverse, whatever happens."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

from lt_loop.attachment import Attachments, attach, give_back
from lt_loop.callback import Callback
from lt_loop.hooks import HOOKS, check_arguments, overridden
from lt_loop.optimizers import check_monitors, read_optimizers
from lt_loop.run import Run
from lt_loop.state import restore_early

log = logging.getLogger("lt_loop")

Teardown = Callable[[], Any]


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
        self._attached: Attachments = []

    def __enter__(self) -> None:
        """Set everything up; on failure, tear down the part that was.

        Raises:
            RuntimeError: the program is being trained by another run.
        """
        run = self._run
        self._attached = attach(run.trainer, (run.program, run.sources.datamodule))
        if run.fn == "fit":
            self._check_alone()
        run.under_way = True
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
        self._entered.append(functools.partial(run.profiling.end, run.fn))
        run.profiling.begin(run.fn, rank=world.rank, trainer=run.trainer)
        for callback in run.callbacks:
            self._entered.append(functools.partial(callback.attach, callback.attach(run.trainer)))
        self._entered.append(run.sources.close)
        for prepare in _prepare_data(run):
            if world.local_rank == 0:
                prepare()
            world.barrier()
        for setup, teardown in _components(run):
            setup()
            self._entered.append(teardown)
        run.call("configure_model")
        run.ports.backend.setup(run.program, [])
        if run.resume is not None:
            restore_early(run, run.resume)
        if run.fn == "fit":
            where = f"{type(run.program).__name__}.configure_optimizers"
            returned = _hook(run, run.program, "configure_optimizers")()
            optimizers, schedules = read_optimizers(returned, where=where)
            if run.automatic:
                _check_one(optimizers, where)
                check_monitors(schedules)
            run.use_optimizers(run.ports.backend.setup(run.program, optimizers), schedules)
            run.call("on_fit_start")
        if run.trainer.enable_autolog_hparams and world.rank == 0:
            _log_hyperparams(run)

    def _check_alone(self) -> None:
        program = self._run.program
        for owner, trainer in self._attached:
            if owner is program and getattr(trainer, "fitting", None) is program:
                give_back(self._attached)
                raise RuntimeError(
                    "A module is trained by one run at a time. Received a fit of "
                    f"{type(owner).__name__} while another trainer is fitting it. Fit a copy, or "
                    "wait for the end of that run."
                )

    def _leave(self, error: BaseException | None) -> None:
        run = self._run
        run.logbook.page = run.logbook.training.batch = None
        left = isinstance(error, GeneratorExit)
        failed = None if left else error
        ends = self._entered[::-1]
        self._entered = []
        if failed is not None:
            cause = unwrapped(failed)
            ends[:0] = [
                functools.partial(run.finish, sentence(cause), failed=True),
                *(functools.partial(hook, cause) for hook in run.hooks["on_exception"]),
                functools.partial(_hook(run, run.sources.datamodule, "on_exception"), cause),
            ]
        elif left:
            ends.insert(0, functools.partial(run.finish, "left by the caller"))
        try:
            _all_of_them(ends, failed)
        finally:
            run.under_way = False
            give_back([pair for pair in self._attached if getattr(pair[1], "under_way", False)])


def _all_of_them(ends: Iterable[Teardown], failed: BaseException | None) -> None:
    """Call everything that ends a run, each also where another one fails."""
    first_failure: BaseException | None = None
    for end in ends:
        try:
            end()
        except BaseException as trouble:  # not even Ctrl-C keeps the others from theirs
            if failed is not None:
                failed.add_note(f"Then a teardown failed too: {trouble!r}")
                log.exception("a teardown failed after %r", failed)
            elif first_failure is None:
                first_failure = trouble
            else:
                first_failure.add_note(f"Another teardown failed too: {trouble!r}")
    if first_failure is not None:
        raise first_failure


def sentence(error: BaseException) -> str:
    """Return an error as the reason for which a run ended."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def unwrapped(error: BaseException) -> BaseException:
    """Return a StopIteration that a generator of the engine had to wrap, else the error itself."""
    cause = error.__cause__
    if isinstance(error, RuntimeError) and isinstance(cause, StopIteration):
        frame = cause.__traceback__.tb_frame if cause.__traceback__ else None  # the generator's
        if frame and str(frame.f_globals.get("__name__")).startswith("lt_loop."):
            return cause
    return error


def _prepare_data(run: Run) -> Iterator[Callable[[], Any]]:
    for owner in (run.sources.datamodule, run.program):
        if owner is not None and (method := overridden(owner, "prepare_data")):
            yield run.profiling.hook(method, "prepare_data", owner)


def _components(run: Run) -> Iterator[tuple[Callable[[], Any], Teardown]]:
    """Yield the setup and teardown of datamodule, callbacks and program."""
    datamodule, program = run.sources.datamodule, run.program
    if datamodule is not None:
        yield _pair(run, datamodule, run.fn)
    for callback in run.callbacks:
        yield _pair(run, callback, run.trainer, program, run.fn)
    if untoggle := getattr(program, "untoggle_optimizer", None):
        yield _nothing, functools.partial(untoggle, None)  # where a step failed in between
    yield _pair(run, program, run.fn)


def _pair(run: Run, owner: Any, *arguments: Any) -> tuple[Callable[[], Any], Teardown]:
    setup, teardown = _hook(run, owner, "setup"), _hook(run, owner, "teardown")
    return functools.partial(setup, *arguments), functools.partial(teardown, *arguments)


def _hook(run: Run, owner: Any, name: str) -> Callable[..., Any]:
    """Return an owner's hook, its arguments checked; one that does nothing where it has none."""
    method = overridden(owner, name)
    if method is None:
        return _nothing
    before = ("trainer", "module") if isinstance(owner, Callback) else ()
    check_arguments(owner, HOOKS[name], method, before=before)
    return run.profiling.hook(method, name, owner)


def _nothing(*_arguments: Any) -> None:
    """Stand in for a hook that nobody wrote."""


def _check_one(optimizers: list[Any], where: str) -> None:
    if len(optimizers) == 1:
        return
    raise ValueError(
        f"One optimizer is stepped automatically. Received {len(optimizers)} from {where}. "
        "Give one optimizer several parameter groups, or set automatic_optimization=False and step "
        "them in training_step."
    )


def _log_hyperparams(run: Run) -> None:
    """Hand the hyper-parameters of program and datamodule to the loggers."""
    found: dict[str, Any] = {}
    for owner in (run.program, run.sources.datamodule):
        for name, value in getattr(owner, "logged_hparams", {}).items():
            if repr(found.setdefault(name, value)) != repr(value):
                raise ValueError(
                    "Module and datamodule share the names of their hyper-parameters. Received "
                    f"{name}={found[name]!r} and {name}={value!r}. Rename one, or pass "
                    f"save_hyperparameters(ignore=[{name!r}]) or logger=False."
                )
    for logger in run.trainer.loggers if found else ():
        if hasattr(logger, "log_hyperparams"):
            logger.log_hyperparams(found)
