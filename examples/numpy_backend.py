"""Logistic regression in NumPy, driven by the same engine: no torch is imported or needed.

``NumpyBackend`` is all that a new kind of numbers takes: the port Backend, in under 100 lines.
"""

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from lt_loop import Callback, Trainer


class Parameter:
    """An array that is learned, and its gradient."""

    def __init__(self, value: np.ndarray) -> None:
        self.value, self.grad = value, np.zeros_like(value)


class Loss:
    """A number and the gradient of each parameter it came from."""

    def __init__(self, value: float, gradients: list[tuple[Parameter, np.ndarray]]) -> None:
        self.value, self.gradients = value, gradients

    def __truediv__(self, n: int) -> "Loss":
        return Loss(self.value / n, [(parameter, grad / n) for parameter, grad in self.gradients])


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
        self.optimizers = list(optimizers)
        return optimizers

    def wrap_step(self, fn: Callable[..., Any], phase: str) -> Callable[..., Any]:
        return fn

    def place(self, batch: Any) -> Any:
        return tuple(np.asarray(part, dtype=np.float64) for part in batch)

    def zero_grad(self, optimizer: SGD) -> None:
        for parameter in optimizer.parameters:
            parameter.grad = np.zeros_like(parameter.value)

    def backward(self, loss: Loss, *, sync: bool) -> None:
        for parameter, gradient in loss.gradients:
            parameter.grad += gradient

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
        optimizer.step()
        return True

    def read(self, values: Sequence[Any]) -> list[float]:
        return [float(value) for value in values]

    def capture(self, *, copy: bool = True) -> dict[str, Any]:
        random_states = random.getstate(), np.random.get_state()
        state = {
            "program": {name: parameter.value for name, parameter in self.parameters.items()},
            "optimizers": [optimizer.velocity for optimizer in self.optimizers],
            "rng": random_states,
        }
        return deepcopy(state) if copy else state

    def restore(self, state: Mapping[str, Any]) -> None:
        saved = deepcopy(dict(state))
        for name, value in saved["program"].items():
            self.parameters[name].value = value
        for optimizer, velocity in zip(self.optimizers, saved["optimizers"], strict=False):
            optimizer.velocity = velocity
        python, numpy = saved["rng"]
        random.setstate(python)
        np.random.set_state(numpy)


class LogisticRegression:
    """Binary classification: p = sigmoid(x w + b), with the gradient worked out by hand."""

    trainer: Any = None

    def __init__(self, features: int) -> None:
        self.w, self.b = Parameter(np.zeros(features)), Parameter(np.zeros(1))

    def probability(self, x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(x @ self.w.value + self.b.value)))

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        x, y = batch
        p = self.probability(x)
        error = (p - y) / len(y)
        value = -np.mean(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12))
        self.trainer.log("train_loss", value, on_epoch=True)
        return Loss(float(value), [(self.w, x.T @ error), (self.b, error.sum(keepdims=True))])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.trainer.log("val_accuracy", np.mean((self.probability(x) > 0.5) == y))

    def configure_optimizers(self) -> SGD:
        return SGD([self.w, self.b], lr=0.5)


class StopWhenGood(Callback):
    """Ends the run when the validation accuracy is high enough."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        accuracy = trainer.callback_metrics.get("val_accuracy", 0.0)
        if not trainer.sanity_checking and accuracy >= 0.97:
            trainer.stop(f"val_accuracy={accuracy:.3f} is good enough")


def main() -> None:
    """Make two clouds of points, and tell them apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1200).astype(float)
    x = rng.normal(size=(1200, 8)) + np.where(y[:, None] > 0, 0.8, -0.8)
    batches = [(x[i : i + 50], y[i : i + 50]) for i in range(0, 1200, 50)]
    trainer = Trainer(
        backend=NumpyBackend(),
        max_epochs=20,
        gradient_clip_val=1.0,
        accumulate_grad_batches=2,
        callbacks=StopWhenGood(),
        logger=False,
        enable_progress_bar=False,
    )
    result = trainer.fit(LogisticRegression(8), batches[:20], batches[20:])
    print(f"{result.reason}; after {result.progress.steps} steps {dict(result.metrics)}")
    assert "torch" not in sys.modules


if __name__ == "__main__":
    main()
