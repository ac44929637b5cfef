"""The optimizer that user code steps: in manual optimization, and in ``optimizer_step``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lt_loop.hooks import Bound
from lt_loop.optimizers import wants_closure
from lt_loop.ports import Backend


class SteppedOptimizer:
    """An optimizer as user code sees it: stepping it goes through the backend and the hooks.

    Everything but :meth:`step` is the optimizer's own.

    Attributes:
        optimizer: the optimizer itself.
        stepped: whether it stepped since the engine last looked: None for not asked to, False
            where a loss scaler skipped the step.
        skips: set by a closure that found nothing to step for.
        told: called with the optimizer where a loss scaler skipped its step, before anybody can
            drop the gradients.
    """

    _opt_called = True
    """What torch's schedulers look for; they need not see the steps that the loop takes itself."""

    def __init__(self, optimizer: Any, backend: Backend, hooks: Bound, program: Any) -> None:
        """Stand before an optimizer.

        Args:
            optimizer: one that the backend returned.
            backend: what steps it.
            hooks: those called with the optimizer before each step.
            program: whose parameters it steps.
        """
        self._program = program
        self.optimizer = optimizer
        self.stepped: bool | None = None
        self.skips = False
        self.told: Callable[[Any], None] = _nothing
        self._backend, self._hooks = backend, hooks
        self._wants_closure = wants_closure(optimizer)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the optimizer once.

        Args:
            closure: computes the loss and its gradients. It is called once before the step,
                except for optimizers that call it themselves, several times.

        Returns:
            The loss of the closure's first call, None without one.
        """
        losses: list[Any] = []

        def prepared() -> Any:
            if closure is not None:
                losses.append(closure())
            if self._hooks:
                self._backend.clip(self.optimizer, None, "norm")
            for hook in self._hooks:
                hook(self.optimizer)
            return losses[-1] if losses else None

        if self._wants_closure and closure is not None:
            stepped = self._backend.step(self.optimizer, prepared)
        else:
            prepared()
            if self.skips:
                self.skips = False
                return None
            stepped = self._backend.step(self.optimizer, None)
        self.stepped = bool(self.stepped) or stepped
        if not stepped:
            self.told(self.optimizer)
        return losses[0] if losses else None

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Let only this optimizer's parameters require gradients inside.

        Args:
            sync_grad: False in all but the last batch of an accumulation by hand, where ranks need
                not agree yet. One process has nobody to agree with.
        """
        self._program.toggle_optimizer(self)
        try:
            yield
        finally:
            self._program.untoggle_optimizer(self)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The optimizer's, for ``isinstance``: torch's schedulers accept nothing else."""
        return type(self.optimizer)

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make a copy: what ``__class__`` names would not do."""
        return SteppedOptimizer, (self.optimizer, self._backend, self._hooks, self._program)

    def taken(self) -> bool | None:
        """Return whether it stepped, and forget it."""
        stepped, self.stepped = self.stepped, None
        return stepped

    def __getattr__(self, name: str) -> Any:
        """Hand on everything else, once there is something to hand it on to."""
        if name == "optimizer" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.optimizer, name)


def _nothing(_optimizer: Any) -> None:
    """Nobody wants to be told."""
