"""The optimizer and the learning-rate schedule that a configuration chooses for a module."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from jsonargparse import Namespace

from lt_cli.parser import AUTOMATIC, LTArgumentParser, class_spec


@final
@dataclass(frozen=True)
class ScheduleConfig:
    """How a learning-rate schedule steps: the options of Lightning's dict for one.

    Args:
        monitor: the logged value that a ``ReduceLROnPlateau`` looks at.
        interval: whether it steps after each epoch or after each optimizer step.
        frequency: how many of them lie between two of its steps.
        strict: whether a monitored value that is not there is an error.
        name: what a monitor of learning rates calls it.
    """

    monitor: str | None = None
    interval: Literal["epoch", "step"] = "epoch"
    frequency: int = 1
    strict: bool = True
    name: str | None = None

    def applied_to(self, schedule: Any) -> Any:
        """Return the schedule with these options, or as it is where none differs."""
        if self == ScheduleConfig():
            return schedule
        return {"scheduler": schedule, **asdict(self)}


@final
@dataclass(frozen=True)
class ChosenOptimizer:
    """What makes the optimizer, and the schedule if there is one."""

    make_optimizer: Callable[[Any], Any]
    make_schedule: Callable[[Any], Any] | None
    options: ScheduleConfig

    def made_for(self, module: Any) -> tuple[Any, Any]:
        """Return the optimizer of a module's parameters, and its schedule or None."""
        optimizer = self.make_optimizer(module.parameters())
        if self.make_schedule is None:
            return optimizer, None
        return optimizer, self.options.applied_to(self.make_schedule(optimizer))


def choose_optimizer(parser: LTArgumentParser, config: Namespace) -> ChosenOptimizer | None:
    """Return what a configuration chooses for the module itself; None where it chooses nothing.

    Raises:
        ValueError: there are several of a kind, or a schedule without an optimizer.
    """
    given = {
        key: class_spec(chosen)(config[key])
        for key, (chosen, link_to) in parser.optimizers_and_lr_schedulers.items()
        if link_to == AUTOMATIC and config.get(key)
    }
    schedules = {key: given[key] for key in given if key in parser.schedule_keys}
    optimizers = {key: given[key] for key in given if key not in schedules}
    _refuse_several(optimizers, schedules)
    if not optimizers:
        return None
    (optimizer,) = optimizers.values()
    return ChosenOptimizer(
        make_optimizer=_maker(optimizer),
        make_schedule=next((_maker(spec) for spec in schedules.values()), None),
        options=config.get("lr_scheduler_config") or ScheduleConfig(),
    )


def _refuse_several(optimizers: Mapping[str, Any], schedules: Mapping[str, Any]) -> None:
    for what, given in (("optimizer", optimizers), ("learning-rate schedule", schedules)):
        if len(given) > 1:
            raise ValueError(
                f"A configuration gives a module one {what} by itself. Received "
                f"{', '.join(given)}. Link them to arguments of the module: link_to='model....'."
            )
    if schedules and not optimizers:
        raise ValueError(
            "A learning-rate schedule needs an optimizer. Received "
            f"{', '.join(schedules)} alone. Give --optimizer too."
        )


def _maker(spec: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return the function that makes an object from its first argument and a configuration."""
    module, _, name = str(spec["class_path"]).rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    words = dict(spec.get("init_args") or {})
    return lambda first: cls(first, **words)
