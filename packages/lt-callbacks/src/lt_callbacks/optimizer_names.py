"""The names of optimizers' parameter groups in a log, as Lightning gives them. Knows no trainer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, slots=True)
class NamedOptimizer:
    """An optimizer and what its parameter groups are called.

    Attributes:
        optimizer: has ``param_groups`` and ``defaults``.
        names: one for each parameter group.
        interval: when its schedule is stepped, ``"step"`` or ``"epoch"``; None where it has none.
    """

    optimizer: Any
    names: tuple[str, ...]
    interval: str | None


def named_optimizers(schedules: Iterable[Any], optimizers: Iterable[Any]) -> list[NamedOptimizer]:
    """Name the optimizers: those of the schedules first, then those that have none.

    A schedule goes by its ``name``; an optimizer without such a one is ``lr-Adam``, a second one
    of the class ``lr-Adam-1``. Several parameter groups are told apart by their key ``name``, or
    else as ``/pg1``, ``/pg2`` and so on.

    Args:
        schedules: each has ``scheduler`` (whose ``optimizer`` is meant), ``interval``, ``name``.
        optimizers: all of the run.

    Raises:
        ValueError: two groups would go by one name.
    """
    seen: dict[type, int] = {}
    found: list[NamedOptimizer] = []
    for schedule in schedules:
        optimizer = getattr(schedule.scheduler, "optimizer", None)
        if optimizer is not None:
            base = schedule.name or _by_class(optimizer, seen)
            found.append(_named(optimizer, base, schedule.interval))
    scheduled = {id(one.optimizer) for one in found}
    for given in optimizers:
        optimizer = getattr(given, "optimizer", given)  # a wrapper's own
        if id(optimizer) not in scheduled and hasattr(optimizer, "param_groups"):
            found.append(_named(optimizer, _by_class(optimizer, seen), None))
    _check_unique([name for one in found for name in one.names])
    return found


def _by_class(optimizer: Any, seen: dict[type, int]) -> str:
    kind = type(optimizer)
    count = seen[kind] = seen.get(kind, 0) + 1
    return f"lr-{kind.__name__}" + (f"-{count - 1}" if count > 1 else "")


def _named(optimizer: Any, base: str, interval: str | None) -> NamedOptimizer:
    groups = optimizer.param_groups
    names = [group.get("name") for group in groups]
    if len(groups) > 1:
        names = [name or f"pg{number}" for number, name in enumerate(names, 1)]
    full = tuple(f"{base}/{name}" if name else base for name in names)
    return NamedOptimizer(optimizer, full, interval)


def _check_unique(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            "Each learning rate in a log has a name of its own. Received two parameter groups or "
            f"schedules called {twice[0]!r}. Give them different names."
        )
