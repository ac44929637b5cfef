"""The closest valid name for a misspelt one, for error messages."""

import difflib
from collections.abc import Iterable


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` with a leading space, or nothing where no name is alike.

    >>> suggestion("max_epoch", ["max_epochs", "min_epochs"])
    " Did you mean 'max_epochs'?"
    >>> suggestion("banana", ["max_epochs"])
    ''
    """
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
