"""Recording: a whole training step as one CUDA graph, which the GPU replays by itself.

A small model's step is hundreds of kernels that each take the CPU longer to launch than the GPU to
compute. A graph launches all of them at once: forward, backward, clipping and the optimizer.

In a loop, the parts of a step are calls of their own, so a recording begins where the step function
is called and ends where the optimizer has stepped. From then on calling the step function replays
all of it, and the other calls have nothing left to do.

What a graph holds are kernels and addresses, so: shapes stay, numbers that Python holds stay (a
learning rate must be a tensor to change), nothing may wait for the GPU, and what Python does in the
step happens only while it is recorded. But for what the program logs: those calls are remembered,
and each replay makes them again, with its own values.
"""

import contextlib
import gc
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar, cast, final

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from lt_accel.logs import Log, Replaced, replaced, replacing

Fn = TypeVar("Fn", bound=Callable[..., Any])

Logged = tuple[Log, str, Tensor, tuple[Any, ...], dict[str, Any]]
"""A call of ``log`` in a recorded step: whose, the name, the value, and the flags."""

Given = tuple[tuple[Any, ...], dict[str, Any]]
"""What a step is called with: by place, and by name."""

WARM_UP = 3
"""Steps before the recording: in these, libraries choose algorithms and optimizers make their
state, which can't be recorded."""


class Recorder(Protocol):
    """What records and replays, so that the rules around it can be tried out without a GPU."""

    def prepare(self) -> None:
        """Get ready, before the steps that warm up."""

    def begin(self) -> None:
        """Begin to record instead of to compute."""

    def end(self) -> None:
        """End the recording."""

    def abandon(self) -> None:
        """Leave a recording that failed, so that the device can be used again."""

    def replay(self) -> None:
        """Compute what was recorded."""


@final
class CudaRecorder:
    """Records on a stream of its own, which stays this thread's stream: the default one can't."""

    def __init__(self, device: torch.device) -> None:
        """Start nothing yet: CUDA must not be touched before processes are started."""
        self._device = device
        self._stream: Any = None
        self._graph: Any = None

    def prepare(self) -> None:
        """Change to the stream on which everything of the training happens from here."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        torch.cuda.set_stream(self._stream)

    def begin(self) -> None:
        """Begin to record."""
        torch.cuda.synchronize(self._device)
        gc.collect()  # freeing memory of another recording in the midst of this one is an error
        self._graph = torch.cuda.CUDAGraph()
        # Other threads, such as the one that pins batches, may go on calling CUDA meanwhile.
        self._graph.capture_begin(capture_error_mode="thread_local")

    def end(self) -> None:
        """End the recording."""
        self._graph.capture_end()

    def abandon(self) -> None:
        """End the recording; torch says once more that it has failed."""
        with contextlib.suppress(RuntimeError):
            self._graph.capture_end()
        self._graph = None
        # Torch leaves the random generator recording; a copy of its state does not.
        generator: Any = torch.cuda.default_generators[torch.cuda.current_device()]
        if hasattr(generator, "graphsafe_set_state"):  # not in older versions
            generator.graphsafe_set_state(generator.clone_state())

    def replay(self) -> None:
        """Launch the graph."""
        self._graph.replay()


@final
class Recorded:
    """A compilation that records training steps whole, after some that warm up.

    Attributes:
        replaying: whether the step under way is a replay, so that it is all done already.
        norm: what clipping returned when it was recorded; a replay writes the new norm into it.
    """

    records = True

    def __init__(
        self,
        recorder: Recorder,
        compiled: Callable[[Any], Any],
        *,
        uncompiled: Callable[[Any], Any] | None = None,
    ) -> None:
        """Put it together.

        Args:
            recorder: records and replays.
            compiled: compiles a step before that, or returns it as it is.
            uncompiled: keeps a function out of what is compiled; None where nothing is.
        """
        self._recorder, self._compiled, self._uncompiled = recorder, compiled, uncompiled
        self.replaying = False
        self.norm: Tensor | None = None
        self._logs: Replaced = []
        self._optimizers: Sequence[Any] = ()
        self._forget()

    def _forget(self) -> None:
        self._calls, self._inputs, self._rates = 0, [], []  # type: ignore[var-annotated]
        self._output: Any = None
        self._structure: Any = None
        self._logged: list[Logged] = []
        self._kept: list[tuple[Tensor, Tensor]] = []
        self.norm = None
        self.replaying = self._recording = self._computing = False

    def begin(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Forget what was recorded: memory that it would write to may be another's by now.

        Raises:
            ValueError: there are several optimizers, or one that can't be recorded.
        """
        self._logs, self._optimizers = replacing(program, self._hearing), list(optimizers)
        if len(self._optimizers) > 1:
            raise ValueError(
                "A CUDA graph ends where its optimizer has stepped. Received "
                f"{len(self._optimizers)} optimizers and compile={{'cuda_graph': True}}. Use one, "
                "with parameter groups, or leave it out."
            )
        for optimizer in self._optimizers:
            check_capturable(optimizer)
        self._give_up()
        self._forget()
        self._recorder.prepare()

    def wrap(self, fn: Fn, phase: str = "train") -> Fn:
        """Return the step, which is recorded when it has been called often enough.

        Raises:
            ValueError: gradients are accumulated.
        """
        if phase == "accumulate":
            raise ValueError(
                "A CUDA graph holds a whole step, from the batch to the optimizer. Received "
                "accumulate_grad_batches above 1 and compile={'cuda_graph': True}. Drop one of "
                "them."
            )
        compute = self._compiled(fn)

        def step(*arguments: Any, **words: Any) -> Any:
            self._calls += 1
            if self._calls > WARM_UP + 1:
                return self._replay((arguments, words))
            self._computing = True
            try:
                with replaced(self._logs):  # while warming up too, for what is compiled then
                    if self._calls <= WARM_UP:
                        return compute(*arguments, **words)
                    return self._record(compute, (arguments, words))
            finally:
                self._computing = False

        return cast(Fn, step)

    def stepped(self) -> None:
        """Note that an optimizer has stepped: that is the end of what is recorded.

        Raises:
            RuntimeError: it stepped within the step function.
        """
        if self._computing:
            self._give_up()
            raise RuntimeError(
                "A CUDA graph goes from the step function to the optimizer that steps after it. "
                "Received a step function that steps an optimizer itself, as in manual "
                "optimization. Leave out compile={'cuda_graph': True}."
            )
        if not self._recording:
            return
        self._recording = False
        try:
            self._recorder.end()
        except RuntimeError as error:
            self._recorder.abandon()
            raise _cannot_wait(error) from error
        self._recorder.replay()  # recording computes nothing
        with torch.no_grad():
            for handed_out, static in self._kept:
                handed_out.data = static.clone()  # the next replay writes into static
        self._log()

    def failed(self, error: Exception) -> Exception:
        """Leave the recording that an error ended after the step function; return the reason."""
        if self._computing or not self._recording:
            return error
        self._give_up()
        return _cannot_wait(error) if isinstance(error, RuntimeError) else error

    def _record(self, compute: Callable[..., Any], given: Given) -> Any:
        leaves, structure = tree_flatten(given)
        self._structure = structure
        self._inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._rates = self._learning_rates()
        self._recorder.begin()
        self._recording = True
        arguments, words = tree_unflatten(self._inputs, structure)
        try:
            output = compute(*arguments, **words)
        except RuntimeError as error:
            self._give_up()
            raise _cannot_wait(error) from error
        except BaseException:
            self._give_up()
            raise
        leaves, structure = tree_flatten(output)
        static = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._output = tree_unflatten(static, structure)
        self._kept = [pair for pair in zip(leaves, static, strict=True) if pair[0] is not pair[1]]
        return output

    def _give_up(self) -> None:
        if self._recording:
            self._recording = False
            self._recorder.abandon()

    def _hearing(self, log: Log) -> Log:
        """Return what logs, or remembers what is to be logged while it is not computed yet."""

        def hear(name: str, value: Any, *arguments: Any, **words: Any) -> None:
            if not self._recording:
                log(name, value, *arguments, **words)
                return
            if not isinstance(value, Tensor):
                raise TypeError(
                    "A step that is recorded as a CUDA graph logs tensors, which each replay "
                    f"computes anew. Received {type(value).__name__} for {name!r}. Log it in "
                    "on_train_batch_end, or leave out compile={'cuda_graph': True}."
                )
            self._logged.append((log, name, value.detach(), arguments, words))

        return hear if self._uncompiled is None else self._uncompiled(hear)

    def _log(self) -> None:
        for log, name, value, arguments, words in self._logged:
            log(name, value.clone(), *arguments, **words)

    def _replay(self, given: Given) -> Any:
        leaves, structure = tree_flatten(given)
        if len(leaves) != len(self._inputs):
            raise self._other_batch(f"{len(self._inputs)} parts", f"{len(leaves)}")
        if structure != self._structure:
            raise self._other_batch(str(self._structure), str(structure))
        for static, leaf in zip(self._inputs, leaves, strict=True):
            if isinstance(static, Tensor):
                if not isinstance(leaf, Tensor) or leaf.shape != static.shape:
                    raise self._other_batch(
                        f"a tensor of shape {tuple(static.shape)}",
                        f"{tuple(leaf.shape)}" if isinstance(leaf, Tensor) else repr(leaf),
                    )
                static.copy_(leaf, non_blocking=True)
        if self._learning_rates() != self._rates:
            raise ValueError(
                "A number in a CUDA graph stays what it was when it was recorded. Received "
                f"learning rates of {self._learning_rates()} after {self._rates}. Make the "
                "optimizer with lr=torch.tensor(...), which schedules change in place."
            )
        self.replaying = True
        self._recorder.replay()
        self._log()
        return tree_map(_own, self._output)  # the next replay writes into it

    def _learning_rates(self) -> list[Any]:
        """Return the learning rates that are numbers; a tensor's address is recorded instead."""
        return [
            None if isinstance(group["lr"], Tensor) else group["lr"]
            for optimizer in self._optimizers
            for group in optimizer.param_groups
        ]

    @staticmethod
    def _other_batch(recorded: str, received: str) -> ValueError:
        return ValueError(
            "All batches of a CUDA graph have one shape and structure. Received "
            f"{received} after {recorded}. Make the loader with drop_last=True, or leave out "
            "compile={'cuda_graph': True}."
        )


def _own(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _cannot_wait(error: RuntimeError) -> RuntimeError:
    return RuntimeError(
        "A step that is recorded as a CUDA graph can't wait for the GPU, nor read from or copy to "
        f"it. Received: {error} Take item(), print() and float() out of the step, or leave out "
        "compile={'cuda_graph': True}."
    )


def check_capturable(optimizer: Any) -> None:
    """Refuse an optimizer that counts its steps on the CPU.

    Raises:
        ValueError: it does.
    """
    if any(group.get("capturable") is False for group in optimizer.param_groups):
        name = type(optimizer).__name__
        raise ValueError(
            f"An optimizer in a CUDA graph counts its steps on the GPU. Received a {name} with "
            f"capturable=False. Make it with {name}(..., capturable=True)."
        )
