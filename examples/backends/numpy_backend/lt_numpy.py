"""A backend for NumPy: all that the engine needs to know of a new kind of numbers.

A program of its kind keeps its :class:`Parameter` s as attributes and returns a :class:`Loss` from
``training_step``, which holds the gradient worked out by hand. ``Trainer(backend="numpy")`` finds
it by the entry point in pyproject.toml.
"""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from lt_loop.solo import OneProcess


class Parameter:
    """An array that is learned, and its gradient."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = np.asarray(value, dtype=np.float64)
        self.grad = np.zeros_like(self.value)


class Loss:
    """A number, and the gradient of each parameter it came from."""

    def __init__(self, value: float, gradients: Sequence[tuple[Parameter, np.ndarray]]) -> None:
        self.value, self.gradients = value, gradients

    def __truediv__(self, n: float) -> "Loss":
        return Loss(self.value / n, [(parameter, grad / n) for parameter, grad in self.gradients])

    def __float__(self) -> float:
        return float(self.value)


class SGD:
    """Gradient descent with momentum."""

    def __init__(self, parameters: Sequence[Parameter], lr: float, momentum: float = 0.9) -> None:
        self.parameters, self.lr, self.momentum = list(parameters), lr, momentum
        self.velocity = [np.zeros_like(parameter.value) for parameter in self.parameters]

    def step(self) -> None:
        for parameter, velocity in zip(self.parameters, self.velocity, strict=True):
            velocity *= self.momentum
            velocity += parameter.grad
            parameter.value -= self.lr * velocity


class NumpyBackend:
    """The port Backend for NumPy arrays."""

    def setup(self, program: Any, optimizers: Sequence[SGD]) -> Sequence[SGD]:
        self.parameters = {k: p for k, p in vars(program).items() if isinstance(p, Parameter)}
        for optimizer in optimizers:
            if not set(self.parameters.values()) & set(optimizer.parameters):
                raise ValueError(
                    "An optimizer must hold parameters of the program it trains. Received "
                    f"{type(optimizer).__name__} with none of {', '.join(self.parameters)}. Make "
                    "it in configure_optimizers."
                )
        self.optimizers = list(optimizers)
        return self.optimizers

    def wrap_step(self, fn: Callable[..., Any], phase: str) -> Callable[..., Any]:
        return undrawn(fn) if phase == "sanity_check" else fn

    def place(self, batch: Any) -> Any:
        return tuple(np.asarray(part, dtype=np.float64) for part in batch)

    def zero_grad(self, optimizer: SGD) -> None:
        for parameter in optimizer.parameters:
            parameter.grad = np.zeros_like(parameter.value)

    def backward(self, loss: Loss, *, sync: bool) -> None:
        if not isinstance(loss, Loss):
            raise TypeError(
                f"training_step returns a Loss. Received {type(loss).__name__}. Return "
                "Loss(value, [(parameter, gradient), ...])."
            )
        for parameter, gradient in loss.gradients:
            parameter.grad = parameter.grad + gradient

    def clip(self, optimizer: SGD, value: float | None, algorithm: str) -> float | None:
        if value is None:
            return None
        grads = [parameter.grad for parameter in optimizer.parameters]
        if algorithm == "value":
            for grad in grads:
                np.clip(grad, -value, value, out=grad)
            return None
        norm = float(np.sqrt(sum(float((grad**2).sum()) for grad in grads)))
        for grad in grads:
            grad *= min(1.0, value / (norm + 1e-6))
        return norm

    def step(self, optimizer: SGD, closure: Callable[[], Any] | None) -> bool:
        if closure is not None:
            closure()
        optimizer.step()
        return True

    def read(self, values: Sequence[Any]) -> list[float]:
        return [float(value) for value in values]

    def capture(self, *, copy: bool = True) -> dict[str, Any]:
        state = {
            "program": {name: parameter.value for name, parameter in self.parameters.items()},
            "optimizers": [{"velocity": optimizer.velocity} for optimizer in self.optimizers],
            "rng": drawn_so_far(),
        }
        return deepcopy(state) if copy else state

    def restore(self, state: Mapping[str, Any]) -> None:
        saved = deepcopy(dict(state))
        for name, value in saved["program"].items():
            self.parameters[name].value = value
        for optimizer, own in zip(self.optimizers, saved["optimizers"], strict=False):
            optimizer.velocity = own["velocity"]
        if "rng" in saved:
            put_back(saved["rng"])


def drawn_so_far() -> dict[str, Any]:
    """Return where the random generators of the process stand."""
    return {"python": random.getstate(), "numpy": np.random.get_state()}


def put_back(generators: Mapping[str, Any]) -> None:
    """Put the random generators back to where they stood."""
    random.setstate(generators["python"])
    np.random.set_state(generators["numpy"])


def undrawn(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that leaves the random generators as they were."""

    @functools.wraps(fn)
    def leaving_no_trace(*arguments: Any, **words: Any) -> Any:
        before = drawn_so_far()
        try:
            return fn(*arguments, **words)
        finally:
            put_back(before)

    return leaving_no_trace


@dataclass(frozen=True)
class Selection:
    """What :func:`select` chose."""

    backend: NumpyBackend
    world: OneProcess
    reasons: Mapping[str, str]


def select(**words: Any) -> Selection:
    """Choose the backend for the hardware words of a Trainer: one CPU, in double precision.

    Raises:
        ValueError: a word asks for something else.
    """
    served = {"accelerator": ("auto", "cpu"), "devices": ("auto", 1), "precision": (64, "64-true")}
    for word, value in words.items():
        if value not in served.get(word, ()):
            rule = " or ".join(map(repr, served[word])) if word in served else "its default"
            raise ValueError(
                f"NumPy computes on one CPU, in double precision. Received {word}={value!r}. "
                f"Use {rule}."
            )
    return Selection(NumpyBackend(), OneProcess(), {"device": "cpu: NumPy knows no other"})
