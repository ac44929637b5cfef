"""The evaluation loop: validate, test, predict, and the sanity check before training."""

from collections.abc import Generator, Iterator
from itertools import islice, zip_longest
from typing import Any

from lt_loop.hooks import Bound
from lt_loop.logbook import Page
from lt_loop.modes import enter_evaluation_mode
from lt_loop.pace import Pace, run_again
from lt_loop.ports import Phase, World
from lt_loop.run import Run, Stage
from lt_loop.sources import Source
from lt_loop.steps import bind_place, bind_step

Tables = list[dict[str, float]]

_NONE = object()

HOOK_WORDS = {"validate": "validation", "test": "test", "predict": "predict"}


def evaluate(run: Run, sources: list[Source]) -> Tables:
    """Run a validation or test loop and return its metrics, one table for each loader."""
    loop = predictions(run, sources)
    while True:
        try:
            next(loop)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def predictions(run: Run, sources: list[Source]) -> Generator[Any, None, Tables]:
    """Yield the loader's index and what the step returns, batch by batch; return the metrics.

    Inside, the program is in evaluation mode; afterwards each submodule is as it was, also when
    the loop is left early. Without sources, nothing happens.
    """
    if not sources:
        return []
    phase: Phase = "evaluate_in_fit" if run.fn == "fit" else "evaluate"
    loop = run.ports.backend.wrap_step(_evaluation, phase)
    with run.logbook.closed():
        leave_evaluation_mode = enter_evaluation_mode(run.program, HOOK_WORDS[sources[0].stage])
        try:
            return (yield from loop(run, sources))
        finally:
            run.logbook.page = None
            leave_evaluation_mode()


def of_all_ranks(world: World, outputs: list[Any]) -> list[Any]:
    """Return the outputs of all ranks on each of them: the first of every rank, the second, ..."""
    if world.world_size == 1:
        return outputs
    ranks = world.gather(outputs)
    rounds = zip_longest(*ranks, fillvalue=_NONE)
    return [output for one in rounds for output in one if output is not _NONE]


def sanity_check(run: Run) -> None:
    """Try out the validation code on a few batches; what it logs is thrown away."""
    outer: Stage = run.stage
    run.stage = "sanity_check"
    run.call("on_sanity_check_start")
    with run.logbook.on_trial():
        run.ports.backend.wrap_step(_trial, "sanity_check")(run)
    run.evaluated.clear()
    run.call("on_sanity_check_end")
    run.stage = outer


def _trial(run: Run) -> None:
    evaluate(run, run.validation())


def _evaluation(run: Run, sources: list[Source]) -> Generator[Any, None, Tables]:
    stage, page = sources[0].stage, Page()
    run.logbook.page = None if stage == "predict" else page
    word = HOOK_WORDS[stage]
    wanted = run.hooks.get(f"{word}_epoch_end", ())
    kept: list[list[Any]] = []
    run.call(f"on_{word}_start")
    run.call(f"on_{word}_epoch_start")
    step = bind_step(run, stage, loaders=len(sources))
    for index, source in enumerate(sources):
        page.enter("evaluation_step", index if len(sources) > 1 else None)
        outputs: list[Any] = []
        for output in _batches(run, source, index, step, page):
            if wanted:
                outputs.append(output)
            yield index, output
        kept.append(outputs)
    page.enter("epoch")
    for hook in wanted:
        hook(kept if len(sources) > 1 else kept[0])
    run.logbook.settle(page)
    run.call(f"on_{word}_epoch_end")
    tables = run.logbook.end_epoch(
        page, epoch=run.progress.epoch, step=run.step_index, loaders=len(sources)
    )
    page.reset()
    run.logbook.page = None
    run.call(f"on_{word}_end")
    return tables


def _batches(run: Run, source: Source, index: int, step: Any, page: Page) -> Iterator[Any]:
    """Yield the outputs of one loader's batches."""
    word = HOOK_WORDS[source.stage]
    starts: Bound = run.hooks[f"on_{word}_batch_start"]
    ends: Bound = run.hooks[f"on_{word}_batch_end"]
    place, world = bind_place(run, dataloader_idx=index), run.ports.world
    together = world.world_size > 1 and getattr(run.ports.backend, "collective_forward", False)
    pace = Pace(world) if together else None
    batches = source.epoch(run.progress.epoch)
    if run.stage == "sanity_check" and run.limits.num_sanity_val_steps >= 0:
        batches = islice(batches, run.limits.num_sanity_val_steps)
    batch_idx, batch = -1, None
    for batch_idx, batch in enumerate(batches):
        if run.signal and run.may_leave_evaluation():
            run.raise_for_signal()
        if pace:
            pace.announce(batch)
        batch = place(batch)
        page.batch, page.batch_size = batch, None
        for hook in starts:
            hook(batch, batch_idx, index)
        output = step(batch, batch_idx, index)
        for hook in ends:
            hook(output, batch, batch_idx, index)
        run.logbook.end_step(page, epoch=run.progress.epoch, step=run.evaluated[index])
        run.evaluated[index] += 1
        yield output
    if pace:
        again = pace.again(batch, place)
        run_again(run, page, lambda batch: step(batch, max(batch_idx, 0), index), again)
    _check_read(source, pace.begun if pace else bool(world.reduce([batch_idx + 1], "max")[0]))


def _check_read(source: Source, read: bool) -> None:
    """Refuse a loader of which no rank got a batch."""
    if not read:
        raise ValueError(
            f"A {source.stage} loader must yield batches. Received a {source.kind} that yielded "
            "none. An iterator that was used up yields none; pass an object that can be read anew."
        )
