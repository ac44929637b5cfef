"""Making what a configuration names, so that what a class raises comes out as it was raised."""

from typing import Any, final

from jsonargparse import ArgumentParser, Namespace


@final
class _Failed(BaseException):
    """Carries an exception past jsonargparse, which would take it for a value of a wrong type."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def instantiated(parser: ArgumentParser, config: Namespace) -> Namespace:
    """Return a configuration with objects in place of what it names.

    Raises:
        Exception: whatever a class raised when it was made, with its own traceback.
    """
    try:
        made: Namespace = parser.instantiate(config, instantiators=[(_make, object, True)])
    except _Failed as failed:
        raise failed.error from failed.error.__cause__
    return made


def _make(cls: type, *arguments: Any, **words: Any) -> Any:
    try:
        return cls(*arguments, **words)
    except Exception as error:
        raise _Failed(error) from error
