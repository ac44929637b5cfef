"""The closest valid name for a misspelt one, for error messages."""

import difflib
from collections.abc import Iterable


def closest(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the valid name most like ``name``, or None where none is alike.

    >>> closest("max_epoch", ["max_epochs", "min_epochs", "devices"])
    'max_epochs'
    >>> closest("banana", ["max_epochs"]) is None
    True
    """
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` with a leading space, or nothing where no name is alike.

    >>> suggestion("max_epoch", ["max_epochs"])
    " Did you mean 'max_epochs'?"
    """
    near = closest(name, valid)
    return f" Did you mean {near!r}?" if near else ""
