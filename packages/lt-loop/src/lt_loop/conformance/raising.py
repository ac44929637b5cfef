"""Expecting an exception, without a test runner."""

from collections.abc import Callable
from typing import Any


def raised_by(
    expected: type[Exception] | tuple[type[Exception], ...],
    call: Callable[[], Any],
    rule: str,
) -> Exception:
    """Return the exception that a call raises.

    Args:
        expected: of which type it is to be.
        call: raises it.
        rule: what to say where it does not, as the first half of a sentence.

    Raises:
        AssertionError: the call raises none, or one of another type.
    """
    kinds = expected if isinstance(expected, tuple) else (expected,)
    names = " or ".join(f"a {kind.__name__}" for kind in kinds)
    try:
        returned = call()
    except kinds as error:
        return error
    except Exception as error:
        raise AssertionError(f"{rule}: by {names}. Received {error!r}.") from error
    raise AssertionError(f"{rule}: by {names}. Received none, but {returned!r}.")
