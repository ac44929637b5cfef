"""Where a program computes, without importing what it computes with."""

from typing import Any


def device_of(program: Any) -> Any:
    """Return the device of a program: its own word, or that of its first parameter, or None.

    >>> from types import SimpleNamespace
    >>> device_of(SimpleNamespace(device="cuda:1"))
    'cuda:1'
    >>> device_of(object())
    """
    device = getattr(program, "device", None)
    if device is None and callable(parameters := getattr(program, "parameters", None)):
        first = next(iter(parameters()), None)
        device = getattr(first, "device", None)
    return device
