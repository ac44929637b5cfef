"""The closest valid word for a misspelt one, for error messages."""

import difflib
from collections.abc import Iterable


def suggestion(word: str, valid: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` with a leading space, or nothing where no word is alike.

    >>> suggestion("bf16-mixd", ["bf16-mixed", "32-true"])
    " Did you mean 'bf16-mixed'?"
    >>> suggestion("banana", ["bf16-mixed", "32-true"])
    ''
    """
    matches = difflib.get_close_matches(word, list(valid), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
