"""Loss scaling for float16: up before the backward pass, down again before the step."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, cast, final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from lt_accel.gradients import by_mesh, parameters_of


@final
class Watched:
    """An optimizer as a GradScaler sees it, which is not stepped but notes that it may be.

    The scaler steps an optimizer only if it found no overflow, which costs it one wait for the
    device. Noting the call tells the outcome without a second wait, as comparing scales would
    take, and before anything was done to the gradients. It also hides the ``fused`` optimizers' own
    handling of the scale, which skips steps on the device without telling anyone: those are
    unscaled and judged like all others.

    Attributes:
        finite: whether the gradients are; None where nobody has asked since the last step.
        unscaled: whether they have their true scale.
        holds: whether there was a backward pass since the last step.
    """

    __slots__ = ("_optimizer", "finite", "holds", "unscaled")

    def __init__(self, optimizer: Any) -> None:
        """Watch an optimizer."""
        self._optimizer = optimizer
        self.finite: bool | None = None
        self.unscaled = False
        self.holds = False

    @property
    def param_groups(self) -> Any:
        """The optimizer's groups."""
        return self._optimizer.param_groups

    def step(self) -> None:
        """Note that the optimizer may step."""
        self.finite = True

    def forget(self) -> None:
        """Be ready for the next gradients."""
        self.finite = None
        self.unscaled = False


@final
class _Scaler(torch.amp.GradScaler):
    """Torch's scaler, for optimizers of which some parameters are spread over ranks too."""

    def _unscale_grads_(
        self, optimizer: Optimizer, inv_scale: Tensor, found_inf: Tensor, allow_fp16: bool
    ) -> dict[torch.device, Tensor]:
        """Unscale parameters of one mesh together; tell all ranks what any of them found.

        Of gradients that are all spread over all ranks, torch tells them itself.
        """
        parts = by_mesh(parameters_of(optimizer))
        found: dict[torch.device, Tensor] = {}
        for part in parts:
            some = cast(Optimizer, SimpleNamespace(param_groups=[{"params": part}]))
            for device, seen in (
                super()._unscale_grads_(some, inv_scale, found_inf, allow_fp16).items()
            ):
                found[device] = torch.maximum(found[device], seen) if device in found else seen
        meshes = [getattr(part[0].grad, "device_mesh", None) for part in parts]
        if any(meshes) and [mesh and mesh.size() for mesh in meshes] != [dist.get_world_size()]:
            for seen in found.values():
                dist.all_reduce(seen, dist.ReduceOp.MAX)
        return found


@final
class LossScaler:
    """Scales losses up and gradients down again, so that small float16 gradients survive.

    Torch's ``GradScaler``, with two differences: :meth:`step` says whether it stepped, and the
    scale is updated right before the next backward pass instead of after each step. So all
    optimizers of one iteration are unscaled by the scale they were scaled with. Gradients that
    another optimizer still gathers then, over several iterations, are brought to the new scale.
    """

    def __init__(self, device_type: str, optimizers: Iterable[Any] = ()) -> None:
        """Make a scaler of torch's usual settings, for optimizers some of which may step later."""
        self._scaler = _Scaler(device_type)
        self._watched: dict[Any, Watched] = {one: Watched(one) for one in optimizers}
        self._judged_since_update = False

    def backward(self, loss: Tensor, **options: Any) -> None:
        """Compute the gradients of the scaled loss, with the options of ``Tensor.backward``."""
        self._update()
        self._scaler.scale(loss).backward(**options)
        for watched in self._watched.values():
            watched.holds = True

    def unscale(self, optimizer: Any) -> None:
        """Bring an optimizer's gradients to their true scale, once for each step."""
        watched = self._watch(optimizer)
        if not watched.unscaled:
            self._scaler.unscale_(cast(Optimizer, watched))
            watched.unscaled = True
            # Torch keeps what it found until an update, also where no step follows.
            self._judged_since_update = True

    def overflowed(self, optimizer: Any) -> bool:
        """Unscale; return whether a gradient is not finite. Waits for them, once for each step."""
        watched = self._watch(optimizer)
        if watched.finite is None:
            watched.finite = False
            self._judged_since_update = True
            self._scaler.step(cast(Optimizer, watched))
            watched.unscaled = True
        return not watched.finite

    def step(self, optimizer: Any) -> bool:
        """Step unless a gradient overflowed; return whether it did. Waits for the gradients."""
        overflowed, watched = self.overflowed(optimizer), self._watch(optimizer)
        watched.forget()
        watched.holds = False
        if not overflowed:
            optimizer.step()
        return not overflowed

    def keep_scale(self) -> None:
        """Let the step that was skipped last change nothing about the scale and its growth."""
        if self._judged_since_update:
            self._scaler.update(self.scale)
            self._judged_since_update = False

    @property
    def scale(self) -> float:
        """The factor of the last backward pass. Waits for the device."""
        return float(self._scaler.get_scale())

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and what its growth depends on. Waits for the device."""
        self._update()
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        self._update()
        self._scaler.load_state_dict(state)

    def _update(self) -> None:
        if not self._judged_since_update:
            return
        held = list(self._held())
        before = cast(Tensor, self._scaler._scale).clone() if held else None  # noqa: SLF001
        self._scaler.update()
        self._judged_since_update = False
        for gradient, scaled in held:
            now = cast(Tensor, self._scaler._scale)  # noqa: SLF001
            gradient.mul_(now / cast(Tensor, before) if scaled else now)
        for watched in self._watched.values():
            watched.forget()

    def _held(self) -> Iterator[tuple[Tensor, bool]]:
        """Yield gradients that wait for a step of their own, and whether they are scaled still.

        Torch forgets in an update which ones it had unscaled, and would do so once more.
        """
        seen: set[int] = set()
        for watched in self._watched.values():
            for parameter in parameters_of(watched) if watched.holds else ():
                gradient: Any = parameter.grad
                if gradient is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    local = gradient.to_local() if hasattr(gradient, "to_local") else gradient
                    yield local, not watched.unscaled

    def _watch(self, optimizer: Any) -> Watched:
        watched = self._watched.get(optimizer)
        if watched is None:
            watched = self._watched[optimizer] = Watched(optimizer)
        return watched
