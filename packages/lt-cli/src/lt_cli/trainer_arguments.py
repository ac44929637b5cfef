"""The arguments of a trainer that take more than a value: what the command line makes of each."""

import inspect
from collections.abc import Callable
from typing import Any

from lt_cli.kinds import AnyObject
from lt_loop import Callback

FORMS: dict[str, Any] = {
    "callbacks": list[Callback] | Callback | None,
    "logger": bool | list[Callback] | Callback | None,
    "strategy": str | AnyObject,
    "devices": int | list[int] | str,
    "precision": int | str | None,
    "gpus": int | list[int] | str | None,
    "plugins": list[AnyObject] | AnyObject | None,
    "profiler": str | AnyObject | None,
    "backend": str | AnyObject | None,
    "world": AnyObject | None,
    "feed": str | AnyObject | None,
    "store": AnyObject | None,
}
"""What may stand in a configuration for the arguments of ``lt_loop.Trainer`` that take objects.

A class is written as its path, or as ``class_path`` and ``init_args``. Whether the object is what
the trainer needs is the trainer's to say, which checks its ports itself.
"""


def wide_arguments(trainer_class: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Return the form and the default of each argument of a trainer that takes objects.

    A trainer of somebody else's that leaves one of them out, or has another default, is read as it
    is.
    """
    parameters = inspect.signature(trainer_class).parameters
    return {
        name: (form, parameters[name].default)
        for name, form in FORMS.items()
        if name in parameters and parameters[name].default is not inspect.Parameter.empty
    }
