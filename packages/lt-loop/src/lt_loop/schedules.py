"""Learning-rate schedules: stepped when their interval is over."""

from collections.abc import Iterable
from typing import Any

from lt_loop.hooks import Bound
from lt_loop.logbook import Logbook
from lt_loop.optimizers import Schedule
from lt_loop.spelling import suggestion


def step_schedules(
    schedules: Iterable[Schedule], count: int, logbook: Logbook, own: Bound = ()
) -> None:
    """Step the schedules whose frequency divides ``count``, the steps or epochs done.

    Args:
        schedules: those whose interval is over.
        count: how many such intervals there were.
        logbook: where monitored values are.
        own: the program's ``lr_scheduler_step``, which takes the place of ``scheduler.step``.

    Raises:
        LookupError: a schedule monitors a value that was not logged.
    """
    for schedule in schedules:
        if count % schedule.frequency:
            continue
        metric = None
        if schedule.reduce_on_plateau:
            metric = _monitored(schedule, logbook)
            if metric is None:
                continue
        if own:
            with logbook.closed():
                for step in own:
                    step(schedule.scheduler, metric)
        else:
            _step(schedule.scheduler, metric)


def _step(scheduler: Any, metric: float | None) -> None:
    if metric is None:
        scheduler.step()
    else:
        scheduler.step(metric)


def _monitored(schedule: Schedule, logbook: Logbook) -> float | None:
    """Return the value a schedule monitors; None where it may be missing and is."""
    monitor, metrics = schedule.monitor or "", logbook.callback_metrics
    if monitor in metrics:
        return float(metrics[monitor])
    if not schedule.strict:
        return None
    raise LookupError(
        f"{type(schedule.scheduler).__name__} monitors a logged value. Received monitor="
        f"{monitor!r}, but what was logged is {', '.join(metrics) or 'nothing'}."
        f"{suggestion(monitor, metrics)} Log it, or set strict=False."
    )
