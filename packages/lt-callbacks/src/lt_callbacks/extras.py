"""Extras: the libraries that a callback needs beside lt-loop, imported when it is first used."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

LIBRARIES: dict[str, tuple[str, ...]] = {
    "averaging": ("torch",),
    "finetuning": ("torch",),
    "gradients": ("torch",),
    "mlflow": ("mlflow",),
    "mlflow-sqlite": ("mlflow", "sqlalchemy", "alembic"),
    "notebook": ("tqdm", "ipywidgets"),
    "plot": ("matplotlib",),
    "profiler": ("torch",),
    "psutil": ("psutil",),
    "rich": ("rich",),
    "summary": ("torch",),
    "tensorboard": ("tensorboard", "torch"),
    "tqdm": ("tqdm",),
    "wandb": ("wandb",),
}
"""The libraries that each extra of this package brings."""


def missing(extra: str) -> list[str]:
    """Return the libraries of an extra that are not installed, without importing any."""
    return [library for library in LIBRARIES[extra] if find_spec(library) is None]


def check(extra: str, *, wanted_by: str) -> None:
    """Check that an extra is installed.

    Raises:
        ModuleNotFoundError: it is not; the message says what to run.
    """
    if lacking := missing(extra):
        raise ModuleNotFoundError(
            f"{wanted_by} needs {' and '.join(LIBRARIES[extra])}. Received a Python without "
            f"{' and '.join(lacking)}. Run: pip install 'lt-callbacks[{extra}]'",
            name=lacking[0],
        )


def load(module: str, *, extra: str, wanted_by: str) -> Any:
    """Import a module of this package that imports the libraries of an extra.

    Raises:
        ModuleNotFoundError: the extra is not installed; the message says what to run.
    """
    check(extra, wanted_by=wanted_by)
    return import_module(module)
