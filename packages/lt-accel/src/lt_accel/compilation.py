"""Compilation: what ``torch.compile`` makes of training steps."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, final

import torch

from lt_accel.precision import Precision
from lt_accel.spelling import suggestion

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Compilation(Protocol):
    """How training steps are compiled."""

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Prepare for a training."""

    def wrap(self, fn: Fn) -> Fn:
        """Return the compiled step."""


@final
class Eager:
    """Leaves steps as they are."""

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Do nothing."""

    def wrap(self, fn: Fn) -> Fn:
        """Return the step."""
        return fn


@final
class Compiled:
    """Compiles steps by ``torch.compile``.

    The function is compiled, not the program: its class, its parameters and the keys of its
    ``state_dict`` stay what they are, and evaluation runs as it was written.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Remember the options of ``torch.compile``."""
        self._options = dict(options)

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Do nothing."""

    def wrap(self, fn: Fn) -> Fn:
        """Return the compiled step; it is compiled when it is first called."""
        return torch.compile(fn, **self._options)  # type: ignore[return-value]


def compilation(word: Any, device: torch.device, precision: Precision) -> Compilation:
    """Return how steps are compiled.

    Args:
        word: True, False, or the options of ``torch.compile`` as a dict.
        device: where steps run.
        precision: in which dtypes.

    Raises:
        TypeError: it is neither, or there is no such option.
    """
    if isinstance(word, bool):
        return Compiled({}) if word else Eager()
    if not isinstance(word, Mapping):
        raise TypeError(
            "compile is True, False or a dict of the options of torch.compile. Received "
            f"compile={word!r}."
        )
    known = [name for name in inspect.signature(torch.compile).parameters if name != "model"]
    for name in word:
        if name not in known:
            raise TypeError(
                f"The options of torch.compile are {', '.join(known)}. Received {name!r}."
                f"{suggestion(str(name), known)}"
            )
    return Compiled(word)
