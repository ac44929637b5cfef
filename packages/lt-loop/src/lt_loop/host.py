"""The memory of the host, where there is room to keep what was computed."""

import copy
import dataclasses
from typing import Any


def on_host(value: Any) -> Any:
    """Return a value whose tensors, in whatever it holds them, are whole and on the host."""
    moved: Any
    if isinstance(value, dict):
        moved = copy.copy(value)
        moved.update((key, on_host(part)) for key, part in value.items())
        return moved
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(on_host, value))
    if type(value) in (list, tuple):
        return type(value)(map(on_host, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        moved = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(moved, field.name, on_host(getattr(value, field.name)))
        return moved
    if hasattr(value, "full_tensor"):  # spread over several devices
        value = value.full_tensor()
    return value.cpu() if hasattr(value, "cpu") else value
