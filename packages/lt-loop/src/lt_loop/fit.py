"""The fit loop: for epoch, for batch, step; for batch, validate.

:func:`fit` is a generator, and each of its yields is a safe point: the optimizer has stepped, no
gradient is pending and nothing is half done. Only there may a run be stopped or captured. The yield
of an epoch's last step comes after the end of the epoch, validation included (where the loader's
length is known; otherwise the end of the epoch is the first thing to happen after it).
"""

import dataclasses
from collections.abc import Generator
from typing import Any

from lt_loop.batches import windows
from lt_loop.evaluate import evaluate, sanity_check
from lt_loop.progress import Progress
from lt_loop.run import Run
from lt_loop.schedules import step_schedules
from lt_loop.sources import Source
from lt_loop.steps import as_outputs, automatic_step, bind_place

Steps = Generator[Progress, None, str | None]
"""Yields at safe points; returns why the run ends, or None where it goes on."""


def fit(run: Run) -> Generator[Progress, None, None]:
    """Train until a limit is reached or somebody asks to stop; yield at every safe point."""
    validation = run.validation()
    if validation and run.limits.num_sanity_val_steps and run.resume is None:
        sanity_check(run, validation)
    sources = run.open("train")
    if not sources:
        run.finish("limit_train_batches=0: nothing to train")
        return
    training = Training(run, sources[0])
    if run.resume is not None:
        run.restore(run.resume)
    run.start_clock()
    run.call("on_train_start")
    reason = run.reason_to_stop(epoch_ended=True)
    while reason is None:
        reason = yield from training.epoch()
    run.call("on_train_end")
    run.finish(reason)


class Training:
    """The training of one fit, with everything decided before the first batch."""

    def __init__(self, run: Run, source: Source) -> None:
        """Bind steps, hooks and schedules.

        Raises:
            ValueError: the loader can't serve the run's limits.
        """
        self.run, self.source = run, source
        self.step = automatic_step(run)
        self.place = bind_place(run)
        self.starts = run.hooks["on_train_batch_start"]
        self.ends = run.hooks["on_train_batch_end"]
        self.wants_outputs = run.hooks["training_epoch_end"]
        self.kept: list[Any] = []
        self.validate_every = _validation_interval(run, source)
        self.by_step = [s for s in run.schedules if s.interval == "step"]
        by_epoch = [s for s in run.schedules if s.interval == "epoch"]
        self.by_epoch = [s for s in by_epoch if not s.reduce_on_plateau]
        self.by_plateau = [s for s in by_epoch if s.reduce_on_plateau]
        _check_readable(run, source)

    def epoch(self) -> Steps:
        """Train one epoch, or the rest of it after a resume."""
        run, progress, page = self.run, self.run.progress, self.run.logbook.training
        if progress.batch == 0:
            page.reset()
        before = dataclasses.replace(progress)
        run.logbook.page = page
        page.enter("epoch")
        run.call("on_train_epoch_start")
        page.enter("training_step")
        reason = yield from self._batches()
        if reason is None:
            self._check_trained(before)
        unyielded = reason is None and progress.batch == self.source.batches
        self._end_epoch(reason)
        if unyielded:
            run.at_safe_point = True
            yield progress
        return reason or run.reason_to_stop(epoch_ended=True)

    def _batches(self) -> Steps:
        run, progress, page = self.run, self.run.progress, self.run.logbook.training
        step, place, starts, last = self.step, self.place, self.starts, self.source.batches
        listening = bool(self.ends or self.wants_outputs)
        log_every, validate_every = run.limits.log_every_n_steps, self.validate_every
        start, size = progress.batch, run.limits.accumulate_grad_batches
        batches = self.source.epoch(progress.epoch, start=start)
        for batch, window, closes in windows(batches, size, last, start=start):
            run.at_safe_point = False
            batch_idx = progress.batch
            batch = page.batch = place(batch)
            page.batch_size = None
            if starts and -1 in [hook(batch, batch_idx) for hook in starts]:
                return None
            output, stepped = step(batch, batch_idx, window, closes)
            self._count(stepped)
            if listening:
                self._tell(output, batch, batch_idx)
            if stepped and progress.steps % log_every == 0:
                run.logbook.end_step(page, epoch=progress.epoch, step=run.step_index)
            if progress.batch == last:
                return None
            if validate_every and progress.batch % validate_every == 0:
                self._validate()
            if closes:
                run.at_safe_point = True
                yield progress
                if reason := run.reason_to_stop(epoch_ended=False):
                    return reason
        return None

    def _count(self, stepped: bool | None) -> None:
        progress = self.run.progress
        progress.batch += 1
        progress.batches += 1
        if stepped:
            progress.steps += 1
            if self.by_step:
                step_schedules(self.by_step, progress.steps, self.run.logbook)
        elif stepped is False:
            progress.skipped_steps += 1

    def _tell(self, output: Any, batch: Any, batch_idx: int) -> None:
        outputs = as_outputs(output)
        for hook in self.ends:
            hook(outputs, batch, batch_idx)
        if self.wants_outputs and outputs is not None:
            self.kept.append(outputs)

    def _validate(self) -> None:
        run = self.run
        if (run.progress.epoch + 1) % run.limits.check_val_every_n_epoch == 0:
            run.stage = "validate"
            evaluate(run, run.validation())
            run.stage = "train"

    def _check_trained(self, before: Progress) -> None:
        progress = self.run.progress
        if progress.batch == 0 and not self.starts:
            raise ValueError(
                f"A train loader yields batches in every epoch. Received a {self.source.kind} that "
                f"yielded none in epoch {progress.epoch}. An iterator that was used up yields "
                "none; pass an object that can be read anew."
            )
        batches = progress.batches - before.batches
        steps = progress.steps + progress.skipped_steps - before.steps - before.skipped_steps
        if batches and not steps:
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
        if complete:
            step_schedules(self.by_epoch, progress.epoch + 1, logbook)
        requested = reason is not None and reason == run.stop_request
        if self.validates_at_end if complete else requested:
            self._validate()
        page = logbook.training
        page.enter("epoch")
        logbook.settle(page)
        for hook in self.wants_outputs:
            hook(self.kept)
        self.kept = []
        run.call("on_train_epoch_end")
        logbook.end_epoch(page, epoch=progress.epoch, step=run.step_index)
        if complete:
            step_schedules(self.by_plateau, progress.epoch + 1, logbook)
            progress.epoch += 1
            progress.batch = 0

    @property
    def validates_at_end(self) -> bool:
        """Whether the last batch of an epoch is one after which validation is due."""
        every, done = self.validate_every, self.run.progress.batch
        return bool(self.run.validation()) and (every is None or done % every == 0)


def _validation_interval(run: Run, source: Source) -> int | None:
    """Return after how many batches of an epoch validation runs, None for its end alone."""
    interval, batches = run.limits.val_check_interval, source.batches
    if interval == 1.0 and isinstance(interval, float):
        return None
    if isinstance(interval, int):
        if batches is not None and interval > batches:
            raise ValueError(
                "val_check_interval may not exceed the batches of an epoch. Received "
                f"val_check_interval={interval} and {batches} training batches. Give at most "
                "that, or a share of the epoch."
            )
        return interval
    if batches is None:
        raise ValueError(
            "val_check_interval as a share needs a loader with a length. Received "
            f"val_check_interval={interval} and a {source.kind} without. Give a number of batches."
        )
    return max(1, int(batches * interval))


def _check_readable(run: Run, source: Source) -> None:
    limits = run.limits
    bounded = limits.steps is not None or limits.max_seconds is not None
    if source.stream.once and limits.epochs != 1 and not (limits.epochs is None and bounded):
        raise ValueError(
            f"A {source.kind} can be read once. Received it as train loader of a run with "
            f"max_epochs={limits.epochs}. Pass an object whose __iter__ starts anew (a DataLoader, "
            "a list), or max_epochs=1."
        )
