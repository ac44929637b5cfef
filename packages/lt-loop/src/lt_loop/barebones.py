"""Barebones: a run with nothing in it but the training, to see what the loop itself costs."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, final

from lt_loop.hooks import overridden

TURNED_OFF: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": None,
    "fast_dev_run": False,
    "detect_anomaly": False,
    "profiler": None,
}
"""The arguments that ``Trainer(barebones=True)`` settles, with the values it gives them."""

ROLES = ("progress_bar", "checkpoint", "model_summary")
"""The roles of callbacks that do what these arguments turn off."""


def bare(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return Trainer's arguments with everything turned off that costs time beside the training.

    Raises:
        ValueError: one of them asks for what is turned off, or a callback does it.
    """
    for name in TURNED_OFF:
        if given[name]:
            raise ValueError(_contradiction(f"{name}={given[name]!r}"))
    callbacks = given["callbacks"]
    for callback in callbacks if isinstance(callbacks, Iterable) else [callbacks]:
        if isinstance(callback, type):
            continue  # refused later, as ever
        role, logs = getattr(callback, "role", ""), overridden(callback, "on_log")
        if role in ROLES or logs:
            kind = "a logger" if logs else f"the role {role!r}"
            raise ValueError(_contradiction(f"{type(callback).__name__} ({kind}) in callbacks"))
    return {**given, **TURNED_OFF}


def _contradiction(received: str) -> str:
    return (
        f"barebones=True turns off {', '.join(TURNED_OFF)}. Received {received} beside it. "
        "Drop one of them."
    )


@final
class Silence:
    """A logbook that writes nothing down. It says so once."""

    def __init__(self) -> None:
        self._told = False

    def log(self, name: str, value: Any, batch_size: int | None, flags: tuple[Any, ...]) -> None:
        """Forget a value."""
        if not self._told:
            self._told = True
            warnings.warn(
                f"With barebones=True nothing is logged. Received log({name!r}, ...), which does "
                "nothing, like the calls after it. Drop barebones=True to log.",
                stacklevel=4,
            )
