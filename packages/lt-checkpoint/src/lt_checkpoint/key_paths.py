"""Key paths: where in a state a value stands, for messages and names."""

from collections.abc import Sequence
from typing import Any

KeyPath = tuple[Any, ...]


def shown(path: Sequence[Any], root: str = "state") -> str:
    """Return a path as Python would spell it.

    >>> shown(("callbacks", "Best", 0))
    "state['callbacks']['Best'][0]"
    """
    return root + "".join(f"[{key!r}]" for key in path)


def flat(path: Sequence[Any]) -> str:
    """Return a path as the name of a tensor.

    >>> flat(("optimizer_states", 0, "state", 1, "exp_avg"))
    'optimizer_states/0/state/1/exp_avg'
    """
    return "/".join(str(key) for key in path) or "value"
