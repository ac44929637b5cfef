"""What the owner of a backend says of it, and the order in which the engine uses one."""

import copy
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lt_loop.conformance.sameness import numbers
from lt_loop.ports import Backend, Phase


class BackendParts(ABC):
    """What a kit has to know of a backend.

    To fill in: :meth:`make`, :meth:`program` and :meth:`batch`; the rest where the default does not
    fit. The kit trains with the program's ``training_step`` and the optimizer that its
    ``configure_optimizers`` returns, which must be one that evaluates the loss once for each step.

    Attributes:
        draws: functions that each draw one number from a random generator the backend looks after;
            empty where it knows none.
        tolerance: by which share of the greatest number gradients may differ that are computed in
            two ways. Runs that go on must come to the same bits whatever it is.
    """

    draws: Sequence[Callable[[], Any]] = (random.random,)
    tolerance: float = 1e-5

    @abstractmethod
    def make(self) -> Backend:
        """Return a new backend."""

    @abstractmethod
    def program(self) -> Any:
        """Return a new program. All of them start with the same numbers.

        Its ``training_step`` draws nothing at random: two of them are compared.
        """

    @abstractmethod
    def batch(self, index: int) -> Any:
        """Return batch ``index`` of several, as a loader would yield it; always the same one.

        All of them together must have other gradients than any of them.
        """

    def optimizer(self, program: Any) -> Any:
        """Return a new optimizer for a program: what ``configure_optimizers`` returns."""
        return program.configure_optimizers()

    def gradients(self, program: Any) -> list[float]:
        """Return the gradients that a program holds, as numbers, 0 where there is none.

        By default those of ``program.parameters()``, in ``grad``, as torch has them.
        """
        found: list[float] = []
        for parameter in program.parameters():
            here = parameter.grad is not None
            found += numbers(parameter.grad) if here else [0.0] * len(numbers(parameter))
        return found

    def by_hand(self, *indices: int) -> list[tuple[float, list[float]]]:
        """Train a new program on some batches, one after another, without a backend.

        It is what the backend is held against, so no part of that may be in it. By default the loop
        that one writes for torch: ``loss.backward()``, ``optimizer.step()``.

        Returns:
            The loss of each batch and its gradients, ordered as :meth:`gradients` orders them.
        """
        program = self.program()
        optimizer = self.optimizer(program)
        found: list[tuple[float, list[float]]] = []
        for index in indices:
            loss = loss_in(program.training_step(self.batch(index), 0))
            assert hasattr(loss, "backward"), (
                "A kit knows how its programs are trained without a backend. Received a loss of "
                f"type {type(loss).__name__}, which has no backward(). Write by_hand(*indices)."
            )
            optimizer.zero_grad()
            loss.backward()
            found.append((numbers(self.number(loss))[0], self.gradients(program)))
            optimizer.step()
        return found

    def number(self, loss: Any) -> Any:
        """Return what a program would log of a loss: something that ``read`` reads."""
        return loss

    def tracks_gradients(self, value: Any) -> bool:
        """Return whether what a step computed remembers where it came from."""
        return bool(getattr(value, "requires_grad", False))

    def gradients_of(self, index: int) -> list[float]:
        """Return the gradients of one batch, from a backend of its own.

        Raises:
            AssertionError: there are none, so that nothing could be said of them.
        """
        training = Training(self)
        training.differentiate(training.loss_of(index))
        found = training.gradients()
        assert any(found), f"Batch {index} of the kit has gradients. Received {found}."
        return found

    def drawn(self) -> list[Any]:
        """Draw one number from each generator."""
        return [draw() for draw in self.draws]


def loss_in(output: Any) -> Any:
    """Return the loss in what a training step returned."""
    return output["loss"] if isinstance(output, Mapping) else output


class Training:
    """A backend, a program and its optimizer in the middle of a fit."""

    def __init__(self, parts: BackendParts, state: Mapping[str, Any] | None = None) -> None:
        """Set everything up as the engine does: the program, its weights, then its optimizer.

        Args:
            parts: makes what is needed.
            state: what to go on from.
        """
        self.parts = parts
        self.backend, self.program = parts.make(), parts.program()
        self.backend.setup(self.program, [])
        if state is not None:
            self.backend.restore(state)
        set_up = self.backend.setup(self.program, [parts.optimizer(self.program)])
        assert len(set_up) == 1, (
            f"setup returns the optimizers it is given. Received one, returned {len(set_up)}."
        )
        self.optimizer = set_up[0]
        if state is not None:
            self.backend.restore(state)
        self._steps: dict[Phase, Callable[..., Any]] = {}

    def loss(self, batch: Any, *, phase: Phase = "train") -> Any:
        """Return the loss of a batch that is placed, as the step wrapped for a phase computes it.

        The step is wrapped once, as the engine does it.
        """
        if phase not in self._steps:
            self._steps[phase] = self.backend.wrap_step(self.program.training_step, phase)
        return loss_in(self._steps[phase](batch, 0))

    def loss_of(self, index: int, *, phase: Phase = "train") -> Any:
        """Return the loss of one of the kit's batches."""
        return self.loss(self.backend.place(self.parts.batch(index)), phase=phase)

    def differentiate(self, *losses: Any) -> None:
        """Drop the gradients, and add those of the losses of one window."""
        self.backend.zero_grad(self.optimizer)
        for number, loss in enumerate(losses, start=1):
            part = loss if len(losses) == 1 else loss / len(losses)
            self.backend.backward(part, sync=number == len(losses))

    def gradients(self) -> list[float]:
        """Return the gradients in their true scale."""
        self.backend.clip(self.optimizer, None, "norm")
        return self.parts.gradients(self.program)

    def step(self, *indices: int) -> None:
        """Train on some batches, one after another."""
        for index in indices:
            self.differentiate(self.loss_of(index))
            self.backend.step(self.optimizer, None)

    def weights(self) -> Any:
        """Return a copy of the program's state, also where ``capture`` returns none."""
        return copy.deepcopy(self.backend.capture()["program"])
