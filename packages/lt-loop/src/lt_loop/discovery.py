"""Discovery: what other packages announce by entry points, found by name.

Nothing is loaded that was not asked for: an installed package enters a run only under a name that
the user or a default of ``Trainer`` gives.
"""

import functools
from typing import TYPE_CHECKING, Any

from lt_loop.spelling import suggestion

if TYPE_CHECKING:
    from importlib import metadata

PACKAGES: dict[tuple[str, str], str] = {
    ("lt.backends", "torch"): "lt-accel",
    ("lt.feeds", "torch"): "lt-data",
    ("lt.stores", "folder"): "lt-checkpoint",
    ("lt.callbacks", "checkpoint"): "lt-checkpoint",
    ("lt.callbacks", "model_summary"): "lt-callbacks",
    ("lt.callbacks", "progress_bar"): "lt-callbacks",
    ("lt.callbacks", "logger"): "lt-callbacks",
    ("lt.profilers", "simple"): "lt-callbacks",
    ("lt.profilers", "advanced"): "lt-callbacks",
    ("lt.profilers", "pytorch"): "lt-callbacks",
}
"""The package that announces a name, for messages."""


@functools.cache
def announced(group: str) -> "dict[str, metadata.EntryPoint]":
    """Return the entry points of a group by name."""
    from importlib import metadata  # noqa: PLC0415 - half the time of importing lt_loop

    return {point.name: point for point in metadata.entry_points(group=group)}


def find(group: str, name: str) -> Any | None:
    """Load what a package announces under a name, or return None where nothing is announced."""
    point = announced(group).get(name)
    return None if point is None else point.load()


def require(group: str, name: str, *, wanted_by: str) -> Any:
    """Load what a package announces under a name.

    Raises:
        LookupError: nothing is announced; the message names the package to install.
    """
    found = find(group, name)
    if found is not None:
        return found
    names = sorted(announced(group))
    package = PACKAGES.get((group, name))
    remedy = f"Install {package}." if package else "Install the package that brings it."
    raise LookupError(
        f"{wanted_by} needs {name!r} among the entry points of {group!r}. Received "
        f"{', '.join(names) or 'none'} from the installed packages.{suggestion(name, names)} "
        f"{remedy}"
    )
