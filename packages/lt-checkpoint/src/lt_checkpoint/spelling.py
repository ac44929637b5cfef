"""The closest valid name for a misspelt one, for error messages."""

import difflib
from collections.abc import Iterable


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` with a leading space, or nothing where no name is alike.

    >>> suggestion("val_los", ["train_loss", "val_loss"])
    " Did you mean 'val_loss'?"
    >>> suggestion("banana", ["val_loss"])
    ''
    """
    matches = difflib.get_close_matches(name, list(valid), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
