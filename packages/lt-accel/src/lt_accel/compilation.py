"""Compilation: what ``torch.compile`` makes of training steps."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, final

import torch
from torch import Tensor

from lt_accel.precision import Precision
from lt_accel.recording import CudaRecorder, Recorded
from lt_accel.spelling import suggestion

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Compilation(Protocol):
    """How training steps are compiled.

    Attributes:
        records: whether whole steps are recorded; see :mod:`lt_accel.recording`.
        replaying: whether the step under way is a replay of a recorded one.
        norm: of a replay, the norm of its gradients.
    """

    records: bool
    replaying: bool
    norm: Tensor | None

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Prepare for a training."""

    def wrap(self, fn: Fn, phase: str) -> Fn:
        """Return the compiled training step, of the phase ``"train"`` or ``"accumulate"``."""

    def stepped(self) -> None:
        """Note that an optimizer has stepped."""


@final
class Eager:
    """Leaves steps as they are."""

    records = replaying = False
    norm: Tensor | None = None

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Do nothing."""

    def wrap(self, fn: Fn, phase: str = "train") -> Fn:
        """Return the step."""
        return fn

    def stepped(self) -> None:
        """Do nothing."""


@final
class Compiled:
    """Compiles steps by ``torch.compile``.

    The function is compiled, not the program: its class, its parameters and the keys of its
    ``state_dict`` stay what they are, and evaluation runs as it was written.
    """

    records = replaying = False
    norm: Tensor | None = None

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Remember the options of ``torch.compile``."""
        self._options = dict(options)

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Keep what the program logs out of the graphs, which would be compiled anew for it.

        Its ``log`` is called as ever, from between two graphs.
        """
        log = getattr(program, "log", None)
        if callable(log) and hasattr(program, "__dict__") and "log" not in vars(program):
            vars(program)["log"] = torch.compiler.disable(log)

    def wrap(self, fn: Fn, phase: str = "train") -> Fn:
        """Return the compiled step; it is compiled when it is first called."""
        return torch.compile(fn, **self._options)  # type: ignore[return-value]

    def stepped(self) -> None:
        """Do nothing."""


def compilation(
    word: Any, device: torch.device, precision: Precision, *, ranks: int
) -> Compilation:
    """Return how steps are compiled.

    Args:
        word: True, False, or the options of ``torch.compile`` as a dict; beside them
            ``"cuda_graph"``: whether to record whole steps, compiled where there are other options.
        device: where steps run.
        precision: in which dtypes.
        ranks: on how many processes.

    Raises:
        TypeError: it is neither, or there is no such option.
        ValueError: an option has no such value, or steps can't be recorded there.
    """
    if isinstance(word, bool):
        return Compiled({}) if word else Eager()
    if not isinstance(word, Mapping):
        raise TypeError(
            "compile is True, False or a dict of the options of torch.compile. Received "
            f"compile={word!r}."
        )
    known = [name for name in inspect.signature(torch.compile).parameters if name != "model"]
    known.append(GRAPH)
    for name in word:
        if name not in known:
            raise TypeError(
                f"The options of torch.compile are {', '.join(known)}. Received {name!r}."
                f"{suggestion(str(name), known)}"
            )
    options = {name: value for name, value in word.items() if name != GRAPH}
    if options:
        _check_options(options)
    if not word.get(GRAPH, False):
        return Compiled(options)
    _check_recordable(device, precision, ranks)
    recorder = CudaRecorder(device)
    if not options:
        return Recorded(recorder, Eager().wrap)
    return Recorded(recorder, Compiled(options).wrap, uncompiled=torch.compiler.disable)


def _check_options(options: Mapping[str, Any]) -> None:
    """Let torch look at options, which compiles nothing yet.

    Raises:
        ValueError: one has no such value, or two contradict each other.
    """
    try:
        torch.compile(lambda: None, **options)
    except (RuntimeError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(
            "compile takes what torch.compile takes. Received "
            f"compile={dict(options)!r}, of which torch says: {error}"
        ) from error


GRAPH = "cuda_graph"


def _check_recordable(device: torch.device, precision: Precision, ranks: int) -> None:
    """Refuse to record where that is not possible.

    Raises:
        ValueError: it isn't.
    """
    why = None
    if device.type != "cuda":
        why = f"a device {device.type}", "Use accelerator='cuda'"
    elif precision.scaled:
        # Whether to skip a step is decided on the CPU, in the midst of it.
        why = f"precision={precision.name!r}, which skips steps", "Use 'bf16-mixed'"
    elif ranks > 1:
        why = f"{ranks} processes, which exchange gradients in it", "Use devices=1"
    if why is not None:
        raise ValueError(
            "A CUDA graph holds a whole step of one GPU. Received "
            f"compile={{'cuda_graph': True}} and {why[0]}. {why[1]}, or leave it out."
        )
