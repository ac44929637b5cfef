"""Precision: in which dtypes a program computes, whatever the device.

A :class:`Precision` is three facts, and the rest follows from them:

===========  ==========  ==========  =======  ========================================
name         parameters  autocast    scaled   aliases
===========  ==========  ==========  =======  ========================================
32-true      as they are no          no       32, "32"
64-true      float64     no          no       64, "64"
bf16-mixed   as they are bfloat16    no       "bf16"
16-mixed     as they are float16     yes      16, "16"
bf16-true    bfloat16    no          no
16-true      float16     no          no
===========  ==========  ==========  =======  ========================================
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import SimpleNamespace
from typing import Any, TypeVar, cast, final

import torch
from torch import nn
from torch.optim import Optimizer

from lt_accel.spelling import suggestion

Fn = TypeVar("Fn", bound=Callable[..., Any])


@final
@dataclass(frozen=True, slots=True)
class Precision:
    """In which dtypes a program computes.

    Attributes:
        name: ``"bf16-mixed"``, say.
        parameters: the dtype that floating-point parameters, buffers and inputs are converted to,
            and that new tensors get inside a step; None leaves all of them as they are.
        autocast: the dtype of ``torch.autocast`` around a step; None for no autocast.
        scaled: whether the loss is scaled up, so that small float16 gradients survive.
    """

    name: str
    parameters: torch.dtype | None = None
    autocast: torch.dtype | None = None
    scaled: bool = False

    @staticmethod
    def named(word: Any) -> "Precision":
        """Return the precision of that name or alias; None stands for ``"32-true"``.

        >>> Precision.named(16).name
        '16-mixed'

        Raises:
            ValueError: there is none of that name.
        """
        if word is None:
            word = "32-true"
        name = ALIASES.get(str(word), str(word))
        if isinstance(word, str | int) and name in PRECISIONS:
            return PRECISIONS[name]
        raise ValueError(
            f"precision is one of {', '.join(PRECISIONS)}, or one of the aliases 16, 32, 64 and "
            f"'bf16'. Received precision={word!r}.{suggestion(str(word), PRECISIONS)}"
        )

    def convert(self, module: nn.Module) -> None:
        """Convert the floating-point parameters and buffers of a module, in place."""
        if self.parameters is not None:
            # These methods, unlike Module.to(dtype), leave complex numbers complex.
            CONVERSIONS[self.parameters](module)

    def wrap(self, fn: Fn, device_type: str) -> Fn:
        """Return a step that computes in this precision; ``fn`` itself where nothing is to do.

        The wrapped step is autocast as a whole, forward and loss, as in a hand-written
        ``with torch.autocast(...)``; the backward pass comes after it. A step does not call
        itself.
        """
        if self.autocast is not None:
            return cast(Fn, torch.autocast(device_type, dtype=self.autocast)(fn))
        if self.parameters is not None:
            return _with_default_dtype(fn, self.parameters)
        return fn

    def check(self, device: torch.device) -> None:
        """Try the precision out on a device, as far as that can be done without starting a GPU.

        Raises:
            ValueError: torch can't compute in this precision on this kind of device.
        """
        dtype = self.autocast or self.parameters
        # CUDA has all of them. It is not tried, because the first tensor on a GPU starts it, which
        # must not happen in a process that is going to start others.
        if dtype is None or device.type == "cuda":
            return
        try:
            _try(self, device, dtype)
        except (RuntimeError, TypeError, NotImplementedError, AssertionError) as error:
            raise ValueError(
                f"precision={self.name!r} needs {dtype} on {device.type}, which torch "
                f"{torch.__version__} can't compute there: {error} Use another precision."
            ) from error


def _with_default_dtype(fn: Fn, dtype: torch.dtype) -> Fn:
    @wraps(fn)
    def step(*args: Any, **kwargs: Any) -> Any:
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return fn(*args, **kwargs)
        finally:
            torch.set_default_dtype(before)

    return cast(Fn, step)


@torch.inference_mode(False)
@torch.enable_grad()
def _try(precision: Precision, device: torch.device, dtype: torch.dtype) -> None:
    """Compute one gradient of one weight."""
    weight = torch.ones(1, 1, device=device, dtype=precision.parameters, requires_grad=True)
    result = precision.wrap(torch.mm, device.type)(weight, weight.detach())
    if result.dtype is not dtype:
        raise TypeError(f"a product came out as {result.dtype}.")
    if precision.scaled:
        scaler = torch.amp.GradScaler(device.type)
        scaler.scale(result.sum()).backward()
        # All it wants of an optimizer; a real one takes long to make for the first time.
        scaler.unscale_(cast(Optimizer, SimpleNamespace(param_groups=[{"params": [weight]}])))
    else:
        result.sum().backward()


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision("32-true"),
        Precision("64-true", parameters=torch.float64),
        Precision("bf16-mixed", autocast=torch.bfloat16),
        Precision("16-mixed", autocast=torch.float16, scaled=True),
        Precision("bf16-true", parameters=torch.bfloat16),
        Precision("16-true", parameters=torch.float16),
    )
}

ALIASES: dict[str, str] = {
    "32": "32-true",
    "64": "64-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
}

CONVERSIONS: dict[torch.dtype, Callable[[nn.Module], nn.Module]] = {
    torch.float64: nn.Module.double,
    torch.bfloat16: nn.Module.bfloat16,
    torch.float16: nn.Module.half,
}
