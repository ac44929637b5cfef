"""The backend: device, precision, sharding and compilation, put together."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar, cast, final, get_args

import torch
from torch import Tensor, nn

from lt_accel.compilation import Compilation, Eager
from lt_accel.gradients import clip, drop, first_non_finite, parameters_of, reason_for
from lt_accel.moving import placer
from lt_accel.precision import Precision
from lt_accel.prefetching import prefetched
from lt_accel.randomness import capture_rng, isolate_rng, restore_rng
from lt_accel.reading import read
from lt_accel.scaling import LossScaler
from lt_accel.sharding import Sharding, Unsharded
from lt_accel.snapshot import copied, load_program, move_optimizer, restore_optimizer
from lt_accel.spelling import suggestion
from lt_accel.switches import Switches
from lt_accel.undoing import undone
from lt_accel.world import TorchWorld

Fn = TypeVar("Fn", bound=Callable[..., Any])
Phase = Literal[
    "train",
    "accumulate",
    "validate",
    "test",
    "predict",
    "evaluate",
    "evaluate_in_fit",
    "sanity_check",
]
PHASES: tuple[str, ...] = get_args(Phase)


@final
class TorchBackend:
    """Computes on the device of this process, in one precision, alone or as one of several ranks.

    Usable in a hand-written loop as well as under an engine; :func:`lt_accel.select` makes one
    from words and says why.

    Attributes:
        device: where the program computes.
        precision: in which dtypes.
        place: brings a batch to the device without waiting for the copy, and, in a ``-true``
            precision, its floating-point tensors to that dtype; see :func:`lt_accel.move`. On a
            CPU in ``"32-true"`` it is the identity.
        sharding: how the program is spread over ranks.
    """

    def __init__(  # noqa: PLR0913 - the choices that are put together
        self,
        device: torch.device | str = "cpu",
        precision: Precision | str | int | None = None,
        *,
        inference_mode: bool = True,
        detect_anomaly: bool = False,
        switches: Switches | None = None,
        sharding: Sharding | None = None,
        compilation: Compilation | None = None,
    ) -> None:
        """Put a backend together, and try the precision out on the device.

        Args:
            device: one that exists.
            precision: a precision or the name of one; None for ``"32-true"``.
            inference_mode: evaluate under ``torch.inference_mode`` rather than ``torch.no_grad``.
            detect_anomaly: in training, let autograd look for NaN and name the forward call behind
                it. Slow.
            switches: settings for the whole process, applied by :meth:`setup`.
            sharding: how the program is spread over ranks; None for one process.
            compilation: how steps are compiled; None for not at all.

        Raises:
            ValueError: there is no such precision, or not on this device.
        """
        self.device = torch.device(device)
        self.precision = (
            precision if isinstance(precision, Precision) else Precision.named(precision)
        )
        self.precision.check(self.device)
        self.place = placer(self.device, self.precision.parameters)
        self.sharding = Unsharded() if sharding is None else sharding
        self._compilation = Eager() if compilation is None else compilation
        # Parameters that are gathered and dropped can't be tensors of inference mode.
        inference_mode = inference_mode and not self.sharding.collective_forward
        self._evaluation = torch.inference_mode if inference_mode else torch.no_grad
        self._switches = switches or Switches()
        self._detects = detect_anomaly
        if detect_anomaly:
            self.backward = _detecting_anomalies(self.backward)  # type: ignore[method-assign]
        self._program: Any = None
        self._optimizers: Sequence[Any] = ()
        self._scaler = self._new_scaler()

    @property
    def collective_forward(self) -> bool:
        """Whether every forward is one of all ranks, so that all must have as many batches."""
        return self.sharding.collective_forward

    def undone(self, parts: Iterable[Any]) -> AbstractContextManager[None]:
        """Return a block after which modules and metric objects hold what they held before.

        For a step that is run for other ranks alone; see :mod:`lt_accel.undoing`.
        """
        return undone(parts)

    @property
    def world(self) -> TorchWorld | None:
        """The world whose ranks it was composed for; None for one process."""
        return self.sharding.world

    @property
    def device_mesh(self) -> Any:
        """The mesh of devices, once the ranks are there; None where there is none."""
        return self.sharding.device_mesh()

    def _new_scaler(self) -> LossScaler | None:
        return LossScaler(self.device.type, self._optimizers) if self.precision.scaled else None

    def setup(self, program: Any, optimizers: Sequence[Any]) -> Sequence[Any]:
        """Move, convert and spread the program in place; return the same optimizers.

        With several ranks, all of them start from the weights of rank 0. A program that is no
        ``nn.Module`` is left alone: what it holds is its own to move; it can't be spread. One
        without ``parameters()`` may have any optimizers. State that an optimizer already has
        follows its parameters. The settings of :class:`Switches` hold for the process from here.

        Called for the same program without optimizers, say to validate it while it is trained,
        this changes nothing about its optimizers and scaler.

        Raises:
            RuntimeError: gradients are switched off around the call, as in a validation hook.
            TypeError: an optimizer has no parameter groups.
            ValueError: an optimizer holds none of the program's parameters, or can't be used with
                this precision.
        """
        if optimizers and not torch.is_grad_enabled():
            raise RuntimeError(
                "Training needs gradients. Received a run within torch.no_grad or "
                "torch.inference_mode, as around validation. Fit in another hook, such as "
                "on_train_epoch_end."
            )
        if optimizers and self.collective_forward and program is not self._program:
            raise ValueError(
                f"{self.sharding.reason} gives a program other parameters, so optimizers are made "
                f"after that. Received {len(optimizers)} made before. Call setup(program, []), "
                "make them, then call setup(program, optimizers)."
            )
        self._switches.apply()
        self._settle()
        changed = self.sharding.spread(program, self.device, self._convert)
        for index, optimizer in enumerate(optimizers):
            self._check_optimizer(program, optimizer, f"optimizer {index} of {len(optimizers)}")
            if changed:
                move_optimizer(optimizer)
        if optimizers or program is not self._program:
            self._program, self._optimizers = program, list(optimizers)
            self._scaler = self._new_scaler()
        if optimizers:
            self.sharding.begin_training(program, optimizers)
            self._compilation.begin(program, optimizers)
        return optimizers

    def _settle(self) -> None:
        """Take the device of this rank, which is known once the ranks are there."""
        device = self.sharding.device(self.device)
        if str(device) == "cuda":  # which torch does not take everywhere
            device = torch.device("cuda", torch.cuda.current_device())
        if device != self.device:
            self.device = device
            self.place = placer(device, self.precision.parameters)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # so that "cuda" alone means this one in user code

    def _convert(self, program: Any) -> bool:
        """Move and convert; return whether any parameter changed its device or dtype."""
        if not isinstance(program, nn.Module):
            return False
        before = [(p.device, p.dtype) for p in program.parameters()]
        self.precision.convert(program)
        program.to(self.device)
        return before != [(p.device, p.dtype) for p in program.parameters()]

    def _check_optimizer(self, program: Any, optimizer: Any, which: str) -> None:
        name = type(optimizer).__name__
        if not hasattr(optimizer, "param_groups"):
            raise TypeError(
                f"An optimizer has param_groups, as torch's have. Received {name} ({which})."
            )
        if self._scaler is not None and isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError(
                f"precision={self.precision.name!r} scales the loss, which an optimizer that "
                f"evaluates it again can't follow. Received {name} ({which}). "
                "Use 'bf16-mixed' or '32-true'."
            )
        if not callable(getattr(program, "parameters", None)):
            return
        owned = {id(parameter) for parameter in program.parameters()}
        held = [id(parameter) for parameter in parameters_of(optimizer)]
        if owned.isdisjoint(held):
            raise ValueError(
                "An optimizer must hold parameters of the program it trains. Received "
                f"{name} ({which}) with {len(held)} parameters, none of them among the "
                f"{len(owned)} of {type(program).__name__}. Make it in configure_optimizers from "
                "self.parameters(); modules in a plain list or dict are not in there."
            )

    def wrap_step(self, fn: Fn, phase: Phase) -> Fn:
        """Bake into ``fn`` what each call needs, once; return ``fn`` where that is nothing.

        Steps get the precision: autocast, or the dtype of new tensors. ``"evaluate"`` is a whole
        evaluation loop, a function or a generator function, and gets inference mode or no-grad,
        which a generator is in only while it runs itself; ``"evaluate_in_fit"`` gets no-grad. A
        function wrapped for ``"sanity_check"`` leaves all random generators as they were.

        Raises:
            ValueError: there is no such phase.
        """
        if phase not in PHASES:
            raise ValueError(
                f"A phase is one of {', '.join(PHASES)}. Received phase={phase!r}."
                f"{suggestion(str(phase), PHASES)}"
            )
        if phase == "evaluate":
            return self._evaluation()(fn)
        if phase == "evaluate_in_fit":  # tensors of inference mode can't be trained with
            return torch.no_grad()(fn)
        if phase == "sanity_check":
            return isolate_rng(self.device)(fn)
        trains = phase in ("train", "accumulate")
        step = self._compilation.wrap(fn, phase) if trains else fn
        step = self.precision.wrap(step, self.device.type)
        step = self.sharding.wrap(step, phase)
        return _detecting_anomalies(step) if self._detects and trains else step

    @property
    def prefetches(self) -> bool:
        """Whether :meth:`prefetch` does anything here that :meth:`place` does not."""
        return self.device.type == "cuda"

    def prefetch(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Place batches one ahead of the program, on a GPU while it computes.

        On other devices, and where there is nothing to move, batches are placed as they come.
        """
        return prefetched(batches, self.place, self.device)

    def zero_grad(self, optimizer: Any) -> None:
        """Set the gradients of the optimizer's parameters to None."""
        if not self._compilation.replaying:  # a replay writes gradients where they were
            drop(optimizer)

    def all_skip(self, *, pending: bool) -> bool:
        """Return whether no rank has gradients for the step that this one has no loss for.

        With DDP it waits for the others, who wait for this rank's gradients, and adds none. With
        FSDP, or a static graph, nobody can know: then it is True at once.

        Args:
            pending: whether this rank has gradients from earlier batches of the window. They are
                averaged.
        """
        return self.sharding.all_skip(pending=pending)

    def backward(self, loss: Tensor, *, sync: bool = True, **options: Any) -> None:
        """Add the gradients of ``loss`` to the parameters, scaled if the precision says so.

        Args:
            loss: a scalar, already divided by the size of the accumulation window.
            sync: False inside an accumulation window, where ranks need not agree yet; its steps are
                those of the phase ``"accumulate"``. Without meaning for one process.
            **options: those of ``Tensor.backward``.

        Raises:
            RuntimeError: the loss did not come through a wrapped step, so ranks would not agree.
            TypeError: the loss is no tensor.
            ValueError: the loss is no scalar, or depends on nothing that requires a gradient.
        """
        if self._compilation.replaying:
            return
        try:
            if self._scaler is None:
                backward = functools.partial(loss.backward, **options) if options else loss.backward
            else:
                backward = functools.partial(self._scaler.backward, loss, **options)
            self.sharding.differentiate(loss, backward, sync=sync)
        except (RuntimeError, AttributeError, ValueError) as error:
            reason = reason_for(loss, self._compilation.failed(error))
            if reason is error:
                raise
            raise reason from error

    def clip(
        self, optimizer: Any, value: float | None, algorithm: Literal["norm", "value"] = "norm"
    ) -> Tensor | None:
        """Bring the gradients to their true scale, and clip them in place.

        With a scaler, clipping waits for the gradients, which the step need not do then. Those that
        overflowed stay as they are, so that it can be told which.

        Args:
            optimizer: whose parameters' gradients are meant.
            value: the greatest total 2-norm, or the greatest absolute value; None for no clipping.
            algorithm: which of the two.

        Returns:
            The total norm before, not waited for, infinity after an overflow; None for ``"value"``
            and without a value.
        """
        if self._compilation.replaying:
            return None if value is None else self._compilation.norm
        if self._scaler is not None:
            if value is not None and self._scaler.overflowed(optimizer):
                return torch.tensor(torch.inf, device=self.device) if algorithm == "norm" else None
            self._scaler.unscale(optimizer)
        norm = None if value is None else clip(optimizer, value, algorithm)
        if self._compilation.records:
            self._compilation.norm = norm
        return norm

    def first_non_finite(self, optimizer: Any) -> str | None:
        """Return the name of a parameter whose gradient is not finite, None where none is.

        Raises:
            ValueError: whole steps are recorded, in which nothing waits for the device.
        """
        if self._compilation.records:
            raise ValueError(
                "To look at the gradients before a step, the CPU waits for the GPU. Received "
                "compile={'cuda_graph': True}, which can't wait within a step. Leave out "
                "on_nonfinite or compile={'cuda_graph': True}."
            )
        return first_non_finite(self._program, optimizer)

    @property
    def loss_scale(self) -> float | None:
        """The factor of the losses of the step under way, None where losses are not scaled.

        Waits for the device. With a scaler, :meth:`step` skips steps that are not finite itself.
        """
        return None if self._scaler is None else self._scaler.scale

    def keep_loss_scale(self) -> None:
        """Let the step that the scaler skipped last change nothing about the scale."""
        if self._scaler is not None:
            self._scaler.keep_scale()

    def step(self, optimizer: Any, closure: Callable[[], Any] | None = None) -> bool:
        """Step the optimizer; False when the scaler found an overflow and skipped the step.

        Only with a scaler does this wait for the device: once, for the gradients.

        Raises:
            ValueError: there is a closure and a scaler.
        """
        if self._scaler is not None:
            if closure is not None:
                raise ValueError(
                    f"precision={self.precision.name!r} scales the loss, which a closure can't "
                    f"follow. Received one for {type(optimizer).__name__}. Step without it."
                )
            return self._scaler.step(optimizer)
        if self._compilation.records:
            return self._step_recorded(optimizer, closure)
        if closure is None:
            optimizer.step()
        else:
            optimizer.step(closure)
        return True

    def _step_recorded(self, optimizer: Any, closure: Callable[[], Any] | None) -> bool:
        if closure is not None:
            raise ValueError(
                "A CUDA graph holds one evaluation of the loss. Received a closure for "
                f"{type(optimizer).__name__}. Leave out compile={{'cuda_graph': True}}."
            )
        if self._compilation.replaying:
            return True
        try:
            optimizer.step()
        except RuntimeError as error:
            reason = self._compilation.failed(error)
            if reason is error:
                raise
            raise reason from error
        self._compilation.stepped()
        return True

    def read(self, values: Sequence[Any]) -> list[float]:
        """Turn numbers and one-element tensors into floats, in one transfer for each device."""
        return read(values)

    def capture(self, *, copy: bool = True) -> dict[str, Any]:
        """Return a snapshot of program, optimizers, scaler and random generators.

        Tensors are copies and stay on their device, except those of the random generators, which
        are on the CPU. What is no tensor is plain data, unless the program's own ``state_dict``
        holds something else.

        Args:
            copy: False to share the tensors of program and optimizers, which the next step changes.
        """
        program = self._program
        take = copied if copy else _shared
        return {
            "program": take(program.state_dict()) if hasattr(program, "state_dict") else None,
            "optimizers": [take(optimizer.state_dict()) for optimizer in self._optimizers],
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "rng": capture_rng(self.device),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`capture` returned; the snapshot stays good for another time.

        Optimizers are put back where both have some, a scaler's state where both have one. What the
        snapshot lacks stays as it is.

        Raises:
            ValueError: the snapshot is of another number of optimizers.
        """
        saved = state["optimizers"]
        if self._optimizers and saved and len(saved) != len(self._optimizers):
            raise ValueError(
                "A state is restored into the optimizers it was captured from. Received the state "
                f"of {len(saved)} for {len(self._optimizers)}. Make the same ones."
            )
        if state["program"] is not None:
            load_program(self._program, state["program"])
        for optimizer, one in zip(self._optimizers, saved, strict=False):
            restore_optimizer(optimizer, one)
        if self._optimizers:
            self._compilation.begin(self._program, self._optimizers)
        if self._scaler is not None and state.get("scaler") is not None:
            self._scaler.load_state_dict(state["scaler"])
        if "rng" in state:
            restore_rng(state["rng"], self.device)

    def adopt(self, program: Any, weights: Mapping[str, Any]) -> None:
        """Give a program the weights that it was trained to in another process.

        It is converted as :meth:`setup` would, so that no digit is lost, and stays where it is.
        """
        if isinstance(program, nn.Module):
            self.precision.convert(program)
        if hasattr(program, "load_state_dict"):
            program.load_state_dict(weights)


def _shared(state: Any) -> Any:
    return state


def _detecting_anomalies(fn: Fn) -> Fn:
    """Return a function in which autograd looks for NaN and names the forward call behind it."""

    @functools.wraps(fn)
    def detecting(*arguments: Any, **words: Any) -> Any:
        with torch.autograd.set_detect_anomaly(True):
            return fn(*arguments, **words)

    return cast(Fn, detecting)
