"""The fit loop: for epoch, for batch, step; for batch, validate.

:func:`fit` is a generator, and each of its yields is a safe point: the optimizer has stepped, no
gradient is pending and nothing is half done. Only there may a run be stopped or captured. The yield
of an epoch's last step comes after the end of the epoch, validation included (where the loader's
length is known; otherwise the end of the epoch is the first thing to happen after it).
"""

import dataclasses
import math
from collections.abc import Callable, Generator, Iterator
from typing import Any

from lt_loop.ahead import Ahead
from lt_loop.automatic import automatic_step
from lt_loop.batches import windows
from lt_loop.evaluate import evaluate, sanity_check
from lt_loop.intervals import validation_interval
from lt_loop.manual import manual_step
from lt_loop.nonfinite import Rollback, leaving_out
from lt_loop.optimizers import Schedule
from lt_loop.profiling import TRAINING_BATCH
from lt_loop.progress import Progress
from lt_loop.run import GO_ON, Run
from lt_loop.schedules import step_schedules
from lt_loop.sources import Source
from lt_loop.state import keep, restore, roll_back
from lt_loop.steps import as_outputs, bind_place

Steps = Generator[Progress, None, str | None]
"""Yields at safe points; returns why the run ends, or None where it goes on."""


def fit(run: Run) -> Generator[Progress, None, None]:
    """Train until a limit is reached or somebody asks to stop; yield at every safe point."""
    if run.validates and run.limits.num_sanity_val_steps and run.resume is None:
        sanity_check(run)
    sources = run.open_for_training()
    if not sources:
        run.finish("limit_train_batches=0: nothing to train")
        return
    if run.resume is not None:
        restore(run, run.resume)  # before validation loaders are opened, which may draw a seed
    training = Training(run, sources[0])
    run.start_clock()
    run.at_safe_point = True
    reason = run.reason_to_stop()
    if reason is None:
        run.logbook.page = run.logbook.training
        run.call("on_train_start")
        reason = run.reason_to_stop()
        while reason is None:
            try:
                reason = yield from training.epoch()
            except Rollback as rollback:
                roll_back(run, str(rollback))
        run.logbook.page = None
        run.call("on_train_end")
    run.finish(reason)


class Training:
    """The training of one fit, with everything decided before the first batch."""

    def __init__(self, run: Run, source: Source) -> None:
        """Bind steps, hooks and schedules.

        Raises:
            ValueError: the loader can't serve the run's limits.
        """
        self.run = run
        self.window = run.window
        step = leaving_out(run, automatic_step(run) if run.automatic else manual_step(run))
        self.step = run.profiling.timed(step, TRAINING_BATCH)
        self.starts = run.hooks["on_train_batch_start"]
        self.ends = run.hooks["on_train_batch_end"]
        self.wants_outputs = run.hooks["training_epoch_end"]
        self.on_safe_point = run.hooks["on_safe_point"]
        self.agree = run.ports.world.agree
        self.most_steps = math.inf if run.limits.steps is None else run.limits.steps
        self.skipped = False
        self.was_over = False  # whether an epoch is resumed at or after what is its end by now
        # Whether they were made for the sanity check or are made now: it leaves no trace in the
        # random generators, so that the check changes nothing about the training.
        self.validation = run.ports.backend.wrap_step(run.validation, "sanity_check")()
        self.renews = run.limits.reload_dataloaders_every_n_epochs > 0
        self.validated_at = -1  # the number of batches when a validation last ran
        self.by_step, self.step_plateaus = _schedules(run, "step")
        self.by_epoch, self.epoch_plateaus = _schedules(run, "epoch")
        self.plateaus_at = 0  # the number of steps when step_plateaus were last stepped
        self._read_from(source)

    def _renew(self) -> None:
        """Ask for a new training loader where it is time for one."""
        (source,) = self.run.renewed("train")
        if source is not self.source:
            self._read_from(source)

    def _read_from(self, source: Source) -> None:
        """Take a loader, for the first epoch or for those that follow."""
        run = self.run
        self.source = source
        self.ahead, self.place = reading_ahead(run, source)
        self.interval = validation_interval(run, source)
        _check_readable(run, source)

    def epoch(self) -> Steps:
        """Train one epoch, or the rest of it after a resume."""
        run, progress, page = self.run, self.run.progress, self.run.logbook.training
        if self.renews:
            self._renew()
        before = dataclasses.replace(progress)
        self.skipped = self.window.pending = False
        self.plateaus_at = progress.steps
        page.enter("epoch")
        run.call("on_train_epoch_start")
        page.enter("training_step")
        reason = yield from self._batches()
        if reason is None:
            self._check_trained(before)
        unyielded = reason is None and self._ends_with_its_last_batch()
        if reason is None:
            self._end_epoch(None)
        else:
            keep(run)
            run.ports.backend.wrap_step(self._end_epoch, "sanity_check")(reason)
        run.at_safe_point = True
        self._tell_safe_point()
        if unyielded:
            yield progress
        return reason or run.reason_to_stop()

    def _windows(self) -> Iterator[tuple[Any, int, bool]]:
        """Open the epoch, or the rest of it; return its batches by accumulation window."""
        run, source, progress = self.run, self.source, self.run.progress
        start, size = progress.batch, run.limits.accumulation(progress.epoch)
        self.was_over = source.batches is not None and start >= source.batches
        batches = source.epoch(progress.epoch, start=start)
        run.sources.ahead = self.ahead
        batches = self.ahead.read(batches) if self.ahead else batches
        return windows(batches, size, source.length, start=start)

    def _batches(self) -> Steps:  # noqa: C901 - on the hot path a call costs more than a branch
        """Train the batches of an epoch."""
        run, progress, page = self.run, self.run.progress, self.run.logbook.training
        step, place, starts, last = self.step, self.place, self.starts, self.source.batches
        pauses = bool((self.interval and self.validation) or self.step_plateaus)
        log_every, most_steps, agree = run.limits.log_every_n_steps, self.most_steps, self.agree
        for batch, window, closes in self._windows():
            run.at_safe_point = False
            batch_idx = run.batch_idx = progress.batch
            self.window.closes = closes
            batch = page.batch = place(batch)
            page.batch_size = None
            if starts and -1 in [hook(batch, batch_idx) for hook in starts]:
                self.skipped = True
                return None
            output, stepped = step(batch, batch_idx, window, closes)
            progress.batch += 1
            progress.batches += 1
            progress.steps += 1 if stepped else 0
            progress.skipped_steps += stepped is False
            if self.by_step or self.by_epoch:
                self._step_due(stepped)
            if self.ends or self.wants_outputs:
                self._tell(output, batch, batch_idx)
            output = None  # with it goes what hangs on it, before the next forward
            if stepped and progress.steps % log_every == 0:
                run.logbook.end_step(page, epoch=progress.epoch, step=run.step_index)
            if progress.batch == last:
                return None
            if pauses:
                self._pause()
            if closes and not self.window.pending:
                run.at_safe_point = True
                if self.on_safe_point:
                    self._tell_safe_point()
                yield progress
                asked = run.signal or run.deadline or run.stop_request is not None
                wish = agree(run.wish() if asked else GO_ON)
                over = wish != GO_ON or progress.steps >= most_steps
                if over and (reason := run.reason_of(wish, epoch_ended=False)):
                    return reason
        return None

    def _pause(self) -> None:
        """Do what may be due between two batches."""
        if self.interval and self.validation and self.interval.over():
            self._validate()
        if self.step_plateaus:
            self._step_plateaus()

    def _tell_safe_point(self) -> None:
        with self.run.logbook.closed():
            for hook in self.on_safe_point:
                hook()

    def _step_due(self, stepped: bool | None) -> None:
        """Step the schedules that are due after a batch."""
        progress = self.run.progress
        if stepped and self.by_step:
            self._step_schedules(self.by_step, progress.steps)
        if self.by_epoch and progress.batch == self.source.batches:
            self._step_schedules(self.by_epoch, progress.epoch + 1)

    def _step_schedules(self, schedules: list[Schedule], count: int) -> None:
        own = self.run.hooks["lr_scheduler_step"]
        step_schedules(schedules, count, self.run.logbook, own)

    def _step_plateaus(self) -> None:
        """Step the schedules that look at a value after optimizer steps, validation included."""
        if self.plateaus_at < self.run.progress.steps:
            self.plateaus_at = self.run.progress.steps
            self._step_schedules(self.step_plateaus, self.plateaus_at)

    def _tell(self, output: Any, batch: Any, batch_idx: int) -> None:
        outputs = as_outputs(output)
        for hook in self.ends:
            hook(outputs, batch, batch_idx)
        if self.wants_outputs and outputs:
            self.run.outputs.append(outputs)

    def _validate(self) -> None:
        run = self.run
        if self.validation and run.limits.validates_in(run.progress.epoch):
            run.stage = "validate"
            if not self.window.pending:  # else there are gradients to keep
                with run.logbook.closed():
                    run.call("on_validation_model_zero_grad")
            if self.renews:
                self.validation = run.renewed("validate")
            evaluate(run, self.validation)
            run.stage = "train"
            self.validated_at = run.progress.batches
            if self.interval:
                self.interval.restart()

    def _check_trained(self, before: Progress) -> None:
        progress = self.run.progress
        if self.skipped or before.batch:  # the epoch was not read from its start to its end
            return
        if progress.batch == 0:
            raise ValueError(
                f"A train loader yields batches in every epoch. Received a {self.source.kind} that "
                f"yielded none in epoch {progress.epoch}. An iterator that was used up yields "
                "none; pass an object that can be read anew."
            )
        batches = progress.batches - before.batches
        steps = progress.steps + progress.skipped_steps - before.steps - before.skipped_steps
        if batches and not steps and self.run.automatic:
            raise ValueError(
                "training_step returns None to skip a batch. Received None for every one of the "
                f"{batches} batches of epoch {progress.epoch}: nothing was trained. "
                "Return the loss."
            )

    def _end_epoch(self, reason: str | None) -> None:
        """Do what ends an epoch. One that a limit cut short is not counted as done."""
        run, progress, logbook = self.run, self.run.progress, self.run.logbook
        run.at_safe_point = False
        complete = reason is None
        if complete and not self._ends_with_its_last_batch():
            self._step_schedules(self.by_epoch, progress.epoch + 1)
        requested = reason is not None and reason == run.stop_request
        if self._validates_at_end(complete=complete, requested=requested):
            self._validate()
        self._step_plateaus()
        page = logbook.training
        page.enter("epoch")
        for hook in self.wants_outputs:
            hook(run.outputs)
        run.outputs = []
        logbook.settle(page)
        run.call("on_train_epoch_end")
        if run.monitors:
            logbook.settle(page)
            for hook in run.monitors:
                hook()
        logbook.end_epoch(page, epoch=progress.epoch, step=run.step_index)
        if complete:
            self._step_schedules(self.epoch_plateaus, progress.epoch + 1)
            page.reset()
            progress.epoch += 1
            progress.batch = 0

    def _ends_with_its_last_batch(self) -> bool:
        """Return whether the last batch that was trained was known to be the epoch's last.

        It was not where the loader has no length, nor where a limit was lowered since.
        """
        return self.run.progress.batch == self.source.batches and not self.was_over

    def _validates_at_end(self, *, complete: bool, requested: bool) -> bool:
        """Return whether validation is due at the end of an epoch, and has not just run in it."""
        if self.interval is None:
            return requested or (complete and not self.skipped)
        progress = self.run.progress
        if self._ends_with_its_last_batch():  # which has not been asked after
            return self.interval.over()
        return requested and self.validated_at != progress.batches


def reading_ahead(run: Run, source: Source) -> tuple[Ahead | None, Callable[[Any], Any]]:
    """Return who reads a training loader ahead, and what places its batches then.

    Nobody does where the backend has no use for it, the program moves batches itself, or only the
    loader knows which batch is the last.
    """
    place, backend = bind_place(run), run.ports.backend
    useful = getattr(backend, "prefetches", False) and source.length is not None
    if not useful or place != backend.place:
        return None, place
    return Ahead(source.stream, backend.prefetch), _as_it_is  # type: ignore[attr-defined]


def _as_it_is(batch: Any) -> Any:
    return batch


def _schedules(run: Run, interval: str) -> tuple[list[Schedule], list[Schedule]]:
    """Return the schedules of an interval that the loop steps: plain ones, and on a plateau."""
    schedules = [s for s in run.schedules if run.automatic and s.interval == interval]
    return (
        [schedule for schedule in schedules if not schedule.reduce_on_plateau],
        [schedule for schedule in schedules if schedule.reduce_on_plateau],
    )


def _check_readable(run: Run, source: Source) -> None:
    limits = run.limits
    bounded = limits.steps is not None or limits.max_seconds is not None
    if source.stream.once and limits.epochs != 1 and not (limits.epochs is None and bounded):
        raise ValueError(
            f"A {source.kind} can be read once. Received it as train loader of a run with "
            f"max_epochs={limits.epochs}. Pass an object whose __iter__ starts anew (a DataLoader, "
            "a list), or max_epochs=1."
        )
