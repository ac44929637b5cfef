"""Runs of Weights & Biases. Needs wandb."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import wandb

_OURS: "WeakSet[Any]" = WeakSet()
"""The runs that loggers began: one that is not among them is the user's, to be used."""


def begun_elsewhere() -> Any:
    """Return the run that the user has begun, None where there is none."""
    return wandb.run if wandb.run is not None and wandb.run not in _OURS else None


def begin(step: str, **arguments: Any) -> Any:
    """Begin a run, beside those of other loggers.

    Args:
        step: the metric that is the x axis of all others.
        **arguments: those of ``wandb.init``.
    """
    if wandb.run is not None:
        arguments = {"reinit": "create_new"} | arguments
    run = wandb.init(**arguments)
    _OURS.add(run)
    run.define_metric(step)
    run.define_metric("*", step_metric=step, step_sync=True)
    return run


def project_set_up() -> str | None:
    """Return the project that wandb is set up for, by its settings or environment."""
    found: str | None = wandb.setup().settings.project
    return found


def log_in() -> None:
    """See that there is an API key; on a terminal, W&B asks for one.

    Raises:
        ValueError: there is none.
    """
    if wandb.setup().settings.mode not in (None, "online"):
        return
    try:
        wandb.login()
    except wandb.errors.UsageError as error:
        raise ValueError(
            f"WandbLogger needs an API key. Received none: {error}. Run: wandb login, or write to "
            "disk by WandbLogger(offline=True)."
        ) from error


def table(**words: Any) -> Any:
    """Make a table of W&B's."""
    return wandb.Table(**{word: value for word, value in words.items() if value is not None})


def media(kind: str, item: Any, words: Mapping[str, Any]) -> Any:
    """Make an image, a sound or a film of W&B's."""
    return getattr(wandb, kind)(item, **words)
