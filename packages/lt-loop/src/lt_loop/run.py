"""Run: the state of one call of fit, validate, test or predict. Only the engine writes it."""

import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from lt_loop.hooks import HOOKS, STEPS, Bound, bind, overridden
from lt_loop.limits import Limits
from lt_loop.logbook import Logbook
from lt_loop.optimizers import Schedule
from lt_loop.ports import Backend, Feed, Store, World
from lt_loop.profiling import Profiling, loaders_of
from lt_loop.progress import Progress
from lt_loop.solo import OneProcess
from lt_loop.sources import LoaderStage, Source, Sources
from lt_loop.stepping import SteppedOptimizer

if TYPE_CHECKING:
    from lt_loop.callback import Callback
    from lt_loop.trainer import Trainer

Function = Literal["fit", "validate", "test", "predict"]
Stage = Literal["train", "sanity_check", "validate", "test", "predict"]

log = logging.getLogger("lt_loop")

GO_ON, ASKED, LATE, INTERRUPTED, TOLD_TO_END = range(5)
"""What a rank wants to happen at a safe point; of several, the greatest is done by all."""


class Preempted(SystemExit):
    """A run that ended at a safe point because its process was told to end.

    Attributes:
        code: what a script that does not catch it exits with: 128 and the number of the signal.
        signal: that number.
    """

    def __init__(self, number: int) -> None:
        """Be the end of a run that received this signal."""
        super().__init__(128 + number)
        self.signal = number

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make it again in another process."""
        return Preempted, (self.signal,)

    def __str__(self) -> str:
        """Return which signal it was."""
        return f"{signal.Signals(self.signal).name} received"


@dataclass(frozen=True, slots=True)
class Ports:
    """The four ports of a run, and why they were chosen."""

    backend: Backend
    world: World
    feed: Feed
    store: Store
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        reason: a sentence: ``"max_epochs=3 reached"``.
        progress: how far it came.
        metrics: the last value of everything that was logged.
    """

    reason: str
    progress: Progress
    metrics: Mapping[str, float]


class Window:
    """The accumulation window under way.

    Attributes:
        pending: whether there is a gradient in it.
        closes: whether the batch under way is its last.
        losses: those of its batches, where it has several and somebody may ask for them.
    """

    __slots__ = ("closes", "losses", "pending")

    def __init__(self) -> None:
        """Start without a gradient in it."""
        self.pending = self.closes = False
        self.losses: list[Any] = []


class Run:
    """One call of fit, validate, test or predict.

    Callbacks and modules reach it through the trainer's properties and ask; they never write.
    """

    def __init__(  # noqa: PLR0913 - the parts of a run
        self,
        fn: Function,
        *,
        trainer: "Trainer",
        program: Any,
        sources: Sources,
        callbacks: "tuple[Callback, ...]",
        limits: Limits,
        ports: Ports,
    ) -> None:
        """Bind the hooks: from here on it is known who listens to what."""
        self.fn = fn
        self.trainer, self.program, self.sources = trainer, program, sources
        self.callbacks, self.limits = callbacks, limits
        self.profiling = Profiling(trainer.profiler, program=program, datamodule=sources.datamodule)
        self.ports = ports = _profiled(ports, self.profiling)
        self._bind_hooks()
        on_log = self.hooks["on_log"] if ports.world.rank == 0 else ()
        self.logbook = Logbook(ports.backend, ports.world, on_log)
        self.progress = Progress()
        self.stage: Stage = "train" if fn == "fit" else fn
        self.automatic = bool(getattr(program, "automatic_optimization", True))
        self.optimizers: list[Any] = []
        self.stepped_optimizers: list[SteppedOptimizer] = []
        self.schedules: list[Schedule] = []
        self.evaluated: Counter[int] = Counter()  # batches, by the index of the loader
        self.under_way = self.at_safe_point = self.failed = False
        self.elsewhere = False  # whether it ended in other processes, and its state with them
        self.signal = 0  # the first one received that ends the run
        self.at_once = False  # whether a second one came, which waits for nothing
        self.batch_idx = -1  # of the training batch under way
        self.repeats = False  # whether a batch of an evaluation is run for other ranks alone
        self.window = Window()
        self.rollbacks = 0
        self.left_out: set[tuple[int, int]] = set()  # batches by epoch and index, after a rollback
        self.verbose = False
        self.asked_for: Any = None  # what ckpt_path said
        self.resume: Mapping[str, Any] | None = None
        self.result: RunResult | None = None
        self.stop_request: str | None = None
        self._begun: float | None = None
        self._ended: float | None = None
        self.seconds_before = 0.0  # of training, in the run that this one continues
        self.validates_at: float | None = None  # in seconds of training
        self.kept: Mapping[str, Any] | None = None  # what a state holds, as of an early stop
        self.outputs: list[Any] = []  # of the epoch under way, for training_epoch_end
        self.deadline: float | None = None  # of time.monotonic(), where time is limited

    def _bind_hooks(self) -> None:
        wrap, callbacks = self.profiling.hook, self.callbacks
        parts: dict[str, Any] = {"trainer": self.trainer, "program": self.program, "wrap": wrap}
        self.hooks: dict[str, Bound] = {
            name: bind(name, callbacks=callbacks, **parts)
            for name in HOOKS
            if name not in STEPS.values()
        }
        late = [callback for callback in callbacks if callback.monitors]
        soon = [callback for callback in callbacks if not callback.monitors]
        self.hooks["on_train_epoch_end"] = bind("on_train_epoch_end", callbacks=soon, **parts)
        self.monitors = bind("on_train_epoch_end", callbacks=late, own=False, **parts)

    def call(self, name: str, *arguments: Any) -> None:
        """Call every implementation of a hook."""
        for hook in self.hooks[name]:
            hook(*arguments)

    def own_hook(self, name: str) -> Callable[..., Any]:
        """Return the program's own implementation of a hook; one that does nothing without it."""
        return overridden(self.program, name) or (lambda *_arguments: None)

    def fingerprint(self) -> dict[str, Any]:
        """Return what must be alike where a run goes on to the same bits: plain data."""
        found: dict[str, Any] = {
            "accumulate_grad_batches": self.limits.accumulation(self.progress.epoch),
            "world_size": self.ports.world.world_size,
        }
        for source in self.sources.opened("train"):
            data = getattr(source.stream, "fingerprint", {})
            found |= {f"data.{key}": value for key, value in data.items()}
        return found

    def use_optimizers(self, optimizers: Iterable[Any], schedules: Iterable[Schedule]) -> None:
        """Take the optimizers that the backend returned, and the schedules beside them."""
        backend, hooks = self.ports.backend, self.hooks["on_before_optimizer_step"]
        self.optimizers, self.schedules = list(optimizers), list(schedules)
        self.stepped_optimizers = [
            SteppedOptimizer(optimizer, backend, hooks, self.program)
            for optimizer in self.optimizers
        ]

    def open(self, stage: LoaderStage) -> list[Source]:
        """Return the opened loaders of a stage; none where its limit is 0."""
        ports = self.ports
        open_sources = self.profiling.timed(self.sources.open, loaders_of(ports.feed, stage))
        return open_sources(
            stage,
            feed=ports.feed,
            world=ports.world if self.trainer.use_distributed_sampler else OneProcess(),
            limits=self.limits,
            epoch=self.progress.epoch,
        )

    def renewed(self, stage: LoaderStage) -> list[Source]:
        """Return the opened loaders of a stage, new ones where it is time to ask for them."""
        every = self.limits.reload_dataloaders_every_n_epochs
        self.sources.expire(stage, epoch=self.progress.epoch, every=every)
        return self.open(stage)

    def open_for_training(self) -> list[Source]:
        """Return the opened training loaders with which a fit starts, or goes on.

        A run that goes on asks for them as if in the epoch in which the run that it continues asked
        for them: what their hook makes may depend on it.
        """
        every = self.limits.reload_dataloaders_every_n_epochs
        epoch = self.progress.epoch
        if every and self.resume is not None:
            self.progress.epoch = epoch - epoch % every
        try:
            return self.renewed("train")
        finally:
            self.progress.epoch = epoch

    @property
    def validates(self) -> bool:
        """Whether a fit validates: there is a step for it, a loader, and a limit above 0."""
        has_step = overridden(self.program, "validation_step") is not None
        return has_step and self.sources.has("validate") and self.limits.limit_val_batches != 0

    def validation(self) -> list[Source]:
        """Return the loaders that a fit validates with; none where nobody validates."""
        return self.open("validate") if self.validates else []

    @property
    def step_index(self) -> int:
        """What loggers call the step: the index of the last one in a fit, else their number."""
        steps = self.progress.steps
        return max(0, steps - 1) if self.fn == "fit" else steps

    def start_clock(self) -> None:
        """Begin to count ``max_time``, after the time that a state to resume from has counted."""
        self._begun = time.monotonic()
        if self.limits.max_seconds is not None:
            self.deadline = self._begun + self.limits.max_seconds - self.seconds_before

    @property
    def seconds(self) -> float:
        """How long training took so far, a run that this one continues included."""
        if self._begun is None:
            return self.seconds_before
        ended = time.monotonic() if self._ended is None else self._ended
        return ended - self._begun + self.seconds_before

    def limit_reached(self, *, epoch_ended: bool) -> str | None:
        """Return which count ends the run at this safe point: the same one on every rank."""
        limits, progress = self.limits, self.progress
        if limits.steps is not None and progress.steps >= limits.steps:
            return f"max_steps={limits.steps} reached"
        if epoch_ended and limits.epochs is not None and progress.epoch >= limits.epochs:
            return f"max_epochs={limits.epochs} reached"
        return None

    def reason_to_stop(self) -> str | None:
        """Return why the run ends before an epoch or after it, or None where it goes on.

        All ranks get the same answer, to which each contributes.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
            Preempted: the process was told to end.
        """
        wish, world = self.wish(), self.ports.world
        several = world.world_size > 1
        wish = int(world.reduce([wish], "max")[0]) if several else world.agree(wish)
        return self.reason_of(wish, epoch_ended=True)

    def reason_of(self, wish: int, *, epoch_ended: bool) -> str | None:
        """Return why the run ends, or None, at a safe point where the ranks agreed on a wish.

        Within an epoch that may be what one of them wanted at the safe point before.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
            Preempted: the process was told to end.
        """
        world = self.ports.world
        if wish in (INTERRUPTED, TOLD_TO_END):
            self.signal = max(world.gather(self.signal))
            self.raise_for_signal()
        reason = self.limit_reached(epoch_ended=epoch_ended)
        if wish == GO_ON or reason:
            return reason
        if wish == LATE:
            return f"max_time of {self.limits.max_seconds:g} seconds reached"
        # From here on it is the request of every rank: what follows it depends on who asked.
        self.stop_request = next(filter(None, world.gather(self.stop_request)))
        return self.stop_request

    def raise_for_signal(self) -> None:
        """End the run where a signal asked for it.

        Raises:
            KeyboardInterrupt: for Ctrl-C.
            Preempted: for any other signal.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal:
            raise Preempted(self.signal)

    def may_leave_evaluation(self) -> bool:
        """Return whether a signal may end the run between two batches of an evaluation.

        Within a fit that is so for Ctrl-C alone, in one process, where no callback saves at the
        next safe point: that one comes after the evaluation, and there all ranks agree.
        """
        if self.fn != "fit":
            return True
        saves = any(c.signals or c.grace_seconds is not None for c in self.callbacks)
        return self.signal == signal.SIGINT and self.ports.world.world_size == 1 and not saves

    def wish(self) -> int:
        """Return what this rank wants to happen at this safe point, as a code.

        It is ``GO_ON`` where there is no signal, no deadline and no request to stop.
        """
        if self.signal:
            return INTERRUPTED if self.signal == signal.SIGINT else TOLD_TO_END
        if not self.may_stop_early():
            return GO_ON
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return LATE
        return GO_ON if self.stop_request is None else ASKED

    def may_stop_early(self) -> bool:
        """Return whether ``min_epochs`` and ``min_steps`` are behind."""
        limits, progress = self.limits, self.progress
        return progress.epoch >= (limits.min_epochs or 0) and progress.steps >= (
            limits.min_steps or 0
        )

    def finish(self, reason: str, *, failed: bool = False) -> None:
        """Write down how the run ended. After a failure the device is left in peace."""
        metrics = self.logbook.published if failed else self.logbook.callback_metrics
        values = {name: float(value) for name, value in metrics.items()}
        self.failed = failed
        self._ended = time.monotonic()
        self.result = RunResult(reason, self.progress, values)
        log.info("%s ended: %s", self.fn, reason)

    def end_elsewhere(self, result: RunResult, shown: Sequence[Mapping[str, float]]) -> None:
        """Take over how the run ended in the processes that did it, and what was logged there."""
        self.result, self.progress, self.elsewhere = result, result.progress, True
        self.logbook.take_in(shown)


def _profiled(ports: Ports, profiling: Profiling) -> Ports:
    """Return ports whose work is recorded; the same ones without a profiler."""
    if not profiling.on:
        return ports
    backend, feed = profiling.backend(ports.backend), profiling.feed(ports.feed)
    return replace(ports, backend=backend, feed=feed)
