"""Learning-rate schedules: stepped when their interval is over."""

from collections.abc import Iterable

from lt_loop.logbook import Logbook
from lt_loop.optimizers import Schedule
from lt_loop.spelling import suggestion


def step_schedules(schedules: Iterable[Schedule], count: int, logbook: Logbook) -> None:
    """Step the schedules whose frequency divides ``count``, the steps or epochs done.

    Raises:
        LookupError: a schedule monitors a value that was not logged.
    """
    for schedule in schedules:
        if count % schedule.frequency:
            continue
        if not schedule.reduce_on_plateau:
            schedule.scheduler.step()
            continue
        monitor = schedule.monitor or ""
        metrics = logbook.callback_metrics
        if monitor in metrics:
            schedule.scheduler.step(float(metrics[monitor]))
        elif schedule.strict:
            raise LookupError(
                f"{type(schedule.scheduler).__name__} monitors a logged value. Received monitor="
                f"{monitor!r}, but what was logged is {', '.join(metrics) or 'nothing'}."
                f"{suggestion(monitor, metrics)} Log it, or set strict=False."
            )
