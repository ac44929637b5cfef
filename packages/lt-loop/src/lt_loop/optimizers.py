"""What ``configure_optimizers`` returned, read into optimizers and learning-rate schedules.

These forms are read, as in Lightning: one optimizer; a list or tuple with one; a pair of lists
(optimizers, schedules); a dict ``{"optimizer": ..., "lr_scheduler": ...}``, where the schedule may
be a dict of its own, with the fields of :class:`Schedule`.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from lt_loop.spelling import suggestion


@dataclass(slots=True, kw_only=True)
class Schedule:
    """When one learning-rate scheduler is stepped.

    Attributes:
        scheduler: has a method ``step``.
        interval: after optimizer steps, or at the end of epochs.
        frequency: every that many of them.
        monitor: the logged value handed to ``scheduler.step``, for schedulers that want one.
        strict: whether a missing ``monitor`` is an error.
        name: what LearningRateMonitor calls it.
        reduce_on_plateau: whether ``step`` takes the monitored value.
    """

    scheduler: Any
    interval: Literal["step", "epoch"] = "epoch"
    frequency: int = 1
    monitor: str | None = None
    strict: bool = True
    name: str | None = None
    reduce_on_plateau: bool | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        if not callable(getattr(self.scheduler, "step", None)):
            raise TypeError(
                f"A learning-rate scheduler has a method step(). Received {self.scheduler!r}."
            )
        if self.interval not in ("step", "epoch"):
            raise ValueError(
                "The interval of a learning-rate schedule is 'step' or 'epoch'. "
                f"Received interval={self.interval!r}."
            )
        frequency: Any = self.frequency
        if type(frequency) is not int or frequency < 1:
            raise ValueError(
                "The frequency of a learning-rate schedule is an int of at least 1. "
                f"Received frequency={self.frequency!r}."
            )
        if self.reduce_on_plateau is None:
            names = [cls.__name__ for cls in type(self.scheduler).__mro__]
            self.reduce_on_plateau = "ReduceLROnPlateau" in names


def read_optimizers(returned: Any, *, where: str) -> tuple[list[Any], list[Schedule]]:
    """Read what ``configure_optimizers`` returned.

    Args:
        returned: its result.
        where: the name of the method, for messages.

    Raises:
        TypeError: the result has none of the forms above.
        ValueError: a form with a key, number or combination that can't be.
    """
    if returned is None:
        raise TypeError(
            f"{where} must return an optimizer. Received None. Return one, for example "
            "torch.optim.Adam(self.parameters())."
        )
    if isinstance(returned, Mapping):
        return _from_config(returned, where)
    if not isinstance(returned, list | tuple):
        return [_optimizer(returned, where)], []
    parts = list(returned)
    if len(parts) == 2 and isinstance(parts[0], list | tuple):
        optimizers, schedules = parts
        schedules = schedules if isinstance(schedules, list | tuple) else [schedules]
        return (
            [_optimizer(one, where) for one in optimizers],
            [_schedule(one, None, where) for one in schedules],
        )
    if not parts:
        raise TypeError(f"{where} must return an optimizer. Received {returned!r}.")
    optimizers, schedules = [], []
    for part in parts:
        some, more = _from_config(part, where) if isinstance(part, Mapping) else ([part], [])
        optimizers += [_optimizer(one, where) for one in some]
        schedules += more
    return optimizers, schedules


def _from_config(config: Mapping[str, Any], where: str) -> tuple[list[Any], list[Schedule]]:
    _check_keys(config, ("optimizer", "lr_scheduler", "monitor"), f"The dict of {where}")
    if "optimizer" not in config:
        raise ValueError(
            f"The dict of {where} must have the key 'optimizer'. Received {sorted(config)}."
        )
    schedules = []
    if config.get("lr_scheduler") is not None:
        schedules.append(_schedule(config["lr_scheduler"], config.get("monitor"), where))
    return [_optimizer(config["optimizer"], where)], schedules


def _schedule(given: Any, monitor: str | None, where: str) -> Schedule:
    if not isinstance(given, Mapping):
        return Schedule(scheduler=given, monitor=monitor)
    names = [field.name for field in fields(Schedule)]
    _check_keys(given, names, f"The lr_scheduler dict of {where}")
    if "scheduler" not in given:
        raise ValueError(
            f"The lr_scheduler dict of {where} must have the key 'scheduler'. "
            f"Received {sorted(given)}."
        )
    return Schedule(**{"monitor": monitor, **given})


def _check_keys(config: Mapping[str, Any], allowed: Sequence[str], what: str) -> None:
    for key in config:
        if key not in allowed:
            raise ValueError(
                f"{what} may have the keys {', '.join(allowed)}. Received {key!r}."
                + suggestion(str(key), allowed)
            )


def _optimizer(given: Any, where: str) -> Any:
    if isinstance(given, type) or not callable(getattr(given, "step", None)):
        raise TypeError(
            f"{where} must return an optimizer: an object with a method step(). "
            f"Received {given!r} of type {type(given).__name__}."
        )
    if hasattr(given, "optimizer") and not hasattr(given, "param_groups"):
        raise TypeError(
            f"{where} must return an optimizer first. Received the scheduler "
            f"{type(given).__name__} in its place. Return ([optimizer], [scheduler])."
        )
    return given


def check_monitors(schedules: Iterable[Schedule]) -> None:
    """Check that schedules which the loop steps have what they look at.

    Raises:
        ValueError: one on a plateau monitors nothing.
    """
    for schedule in schedules:
        if schedule.reduce_on_plateau and schedule.monitor is None:
            raise ValueError(
                "ReduceLROnPlateau needs the name of a logged value. Received a schedule without "
                "one. Return {'optimizer': ..., 'lr_scheduler': ..., 'monitor': 'val_loss'}."
            )


def wants_closure(optimizer: Any) -> bool:
    """Return whether ``optimizer.step`` can't be called without a closure, as that of LBFGS.

    The method is looked up on the class: torch's schedulers put a wrapper onto the instance whose
    signature is not that of the method.
    """
    step = getattr(type(optimizer), "step", None)
    if step is None:  # an attribute of the instance
        return False
    try:
        inspect.signature(step).bind(optimizer)
    except TypeError:
        return True
    return False
