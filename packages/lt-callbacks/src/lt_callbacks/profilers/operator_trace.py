"""The torch side of PyTorchProfiler. Needs torch."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerAction, profile, record_function, schedule


class Scope(Protocol):
    """A label that stands until it is closed."""

    def close(self) -> None:
        """End it."""


class OperatorTrace(Protocol):
    """What records, or marks, the operators of some steps."""

    @property
    def recording(self) -> bool:
        """Whether a label that begins now will be seen."""

    @property
    def complete(self) -> bool:
        """Whether everything was recorded that was to be."""

    def begin(self) -> None:
        """Begin with the first step."""

    def step(self) -> None:
        """Go over to the next step."""

    def scope(self, label: str) -> Scope:
        """Begin a label."""

    def end(self) -> None:
        """Record no more."""


def has_cuda() -> bool:
    """Return whether there is a CUDA device."""
    return torch.cuda.is_available()


def profile_words() -> tuple[str, ...]:
    """Return the names of the arguments of ``torch.profiler.profile``."""
    return _words(profile.__init__)


def table_words() -> tuple[str, ...]:
    """Return the names of the arguments of the table that PyTorchProfiler leaves open."""
    return tuple(word for word in _words(EventList.table) if word not in ("sort_by", "row_limit"))


def _words(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(word for word in inspect.signature(function).parameters if word != "self")


def export(recorded: profile, folder: Path, name: str) -> None:
    """Write a trace that TensorBoard finds: ``<name>.<nanoseconds>.pt.trace.json``."""
    torch.profiler.tensorboard_trace_handler(str(folder), name)(recorded)


@final
class ProfilerTrace:
    """Records with ``torch.profiler``.

    Args:
        words: arguments of ``torch.profiler.profile``.
        receive: called with the profile at the end of each recording, before ``on_trace_ready``.
        three_steps: warm up in the first step and record three; else as ``words`` say.
    """

    def __init__(
        self, words: Mapping[str, Any], receive: Callable[[profile], None], *, three_steps: bool
    ) -> None:
        then = words.get("on_trace_ready")

        def ready(recorded: profile) -> None:
            self.complete = three_steps
            receive(recorded)
            if then is not None:
                then(recorded)

        if three_steps:
            words = {**words, "schedule": schedule(wait=0, warmup=1, active=3, repeat=1)}
        self.complete = False
        self._profile = profile(**{**words, "on_trace_ready": ready})
        self._entered = ExitStack()

    @property
    def recording(self) -> bool:
        """Whether this step is recorded."""
        action = self._profile.current_action
        return action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)

    def begin(self) -> None:
        """Begin with the first step."""
        self._entered.enter_context(self._profile)

    def step(self) -> None:
        """Go over to the next step."""
        try:
            self._profile.step()
        except BaseException:  # of on_trace_ready, say
            self._entered.pop_all()  # it is half way between two states: stopping it would crash
            raise

    def scope(self, label: str) -> Scope:
        """Begin a label among the operators."""
        return _opened(label)

    def end(self) -> None:
        """Stop, and hand over what was recorded so far."""
        self._entered.close()


@final
class NvtxTrace:
    """Marks operators and labels as NVTX ranges, which a CUDA tool outside records.

    Args:
        words: arguments of ``torch.profiler.profile``; ``record_shapes`` counts.
    """

    recording = True
    complete = False

    def __init__(self, words: Mapping[str, Any]) -> None:
        self._shapes = bool(words.get("record_shapes", False))
        self._entered = ExitStack()

    def begin(self) -> None:
        """Let the tool begin, and mark from here."""
        self._entered.enter_context(torch.cuda.profiler.profile())
        self._entered.enter_context(torch.autograd.profiler.emit_nvtx(record_shapes=self._shapes))

    def step(self) -> None:
        """Do nothing: a timeline has no steps."""

    def scope(self, label: str) -> Scope:
        """Begin a range."""
        return _opened(label)

    def end(self) -> None:
        """Mark no more, and let the tool stop."""
        self._entered.close()


def _opened(label: str) -> ExitStack:
    scope = ExitStack()
    scope.enter_context(record_function(label))
    return scope


@final
class LayerNames:
    """Labels the forward of each layer of a program: ``[Layer]encoder.0 (Linear)``.

    Args:
        program: an ``nn.Module``; anything else has no layers.
    """

    def __init__(self, program: Any) -> None:
        self._open: dict[str, list[Scope]] = {}
        self._hooks: list[Any] = []
        named = getattr(program, "named_modules", None)
        for name, layer in named() if named else ():
            if name:
                label = f"[Layer]{name} ({type(layer).__name__})"
                begin, end = partial(self._begin, label), partial(self._end, label)
                self._hooks.append(layer.register_forward_pre_hook(begin))
                # Also where the forward raises: a label that stays open would swallow the rest.
                self._hooks.append(layer.register_forward_hook(end, always_call=True))

    def _begin(self, label: str, *_: Any) -> None:
        self._open.setdefault(label, []).append(_opened(label))

    def _end(self, label: str, *_: Any) -> None:
        if scopes := self._open.get(label):
            scopes.pop().close()

    def remove(self) -> None:
        """Take the hooks off again."""
        for hook in self._hooks:
            hook.remove()
