"""Compilation: what ``torch.compile`` makes of training steps."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar, cast, final

import torch
from torch import Tensor

from lt_accel.logs import Replaced, replaced, replacing
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

    def failed(self, error: Exception) -> Exception:
        """Note that a backward pass or an optimizer failed; return the error to raise."""


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

    def failed(self, error: Exception) -> Exception:
        """Return the error."""
        return error


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
        self._logs: Replaced = []

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Remember whose logging is kept out of the graphs, which would be compiled anew for it.

        In steps, ``log`` of the program, and of its parts that log as it does, is called as ever,
        from between two graphs.
        """
        self._logs = replacing(program, uncompiled)

    def wrap(self, fn: Fn, phase: str = "train") -> Fn:
        """Return the compiled step; it is compiled when it is first called."""
        compiled, varying = torch.compile(fn, **self._options), _varying_numbers()

        def step(*arguments: Any, **words: Any) -> Any:
            with varying, replaced(self._logs):
                return compiled(*arguments, **words)

        return cast(Fn, step)

    def stepped(self) -> None:
        """Do nothing."""

    def failed(self, error: Exception) -> Exception:
        """Return the error."""
        return error


def uncompiled(log: Callable[..., Any]) -> Callable[..., Any]:
    """Return a program's ``log`` as one that is called from between two graphs."""
    options: dict[str, Any] = {}
    if "reason" in inspect.signature(torch.compiler.disable).parameters:  # not in older versions
        options["reason"] = (
            "what a step logs is taken in between two graphs, which fullgraph=True forbids. Log in "
            "on_train_batch_end, or leave out fullgraph"
        )
    return cast(Callable[..., Any], torch.compiler.disable(log, **options))


def _varying_numbers() -> AbstractContextManager[Any]:
    """Return a block, for one thread at a time, in which numbers that modules hold may change.

    Of itself torch takes them for constants, and would compile a step that reads how many steps
    were taken anew for each one. In the block a number that has changed becomes an input of the
    graph, as one among the arguments of a function does.
    """
    config: Any = torch._dynamo.config  # noqa: SLF001 - where torch's own message sends one
    if not hasattr(config, VARYING):  # in older versions
        return nullcontext()
    return cast(AbstractContextManager[Any], config.patch({VARYING: True}))


VARYING = "allow_unspec_int_on_nn_module"


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
    return Recorded(recorder, Compiled(options).wrap, uncompiled=uncompiled)


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
