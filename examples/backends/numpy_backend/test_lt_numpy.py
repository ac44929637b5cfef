"""The backend keeps every promise of its port, and says what it can't do."""

import random
from typing import Any

import numpy as np
import pytest
from lt_numpy import SGD, Loss, NumpyBackend, Parameter, select

from lt_loop.conformance import BackendConformance


class Line:
    """Fits ``y = x w + b``."""

    def __init__(self) -> None:
        self.w, self.b = Parameter(np.linspace(-1, 1, 3)), Parameter(np.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        x, y = batch
        error = x @ self.w.value + self.b.value - y
        slope = 2 * error / len(y)
        return Loss((error**2).mean(), [(self.w, x.T @ slope), (self.b, slope.sum(keepdims=True))])

    def configure_optimizers(self) -> SGD:
        return SGD([self.w, self.b], lr=0.1)


class TestNumpyBackend(BackendConformance):
    make = staticmethod(NumpyBackend)
    program = staticmethod(Line)
    draws = (random.random, np.random.random)

    def batch(self, index: int) -> Any:
        rng = np.random.default_rng(index)
        return rng.normal(size=(5, 3)), rng.normal(size=5)

    def by_hand(self, *indices: int) -> list[tuple[float, list[float]]]:
        line, found = Line(), []
        optimizer = line.configure_optimizers()
        for index in indices:
            loss = line.training_step(self.batch(index), 0)
            for parameter, gradient in loss.gradients:
                parameter.grad = gradient
            found.append((float(loss), self.gradients(line)))
            optimizer.step()
        return found

    def gradients(self, program: Line) -> list[float]:
        return [*program.w.grad, *program.b.grad]


@pytest.mark.parametrize("words", [{}, {"accelerator": "cpu", "devices": 1, "precision": 64}])
def test_one_cpu_is_what_there_is(words: dict[str, Any]) -> None:
    chosen = select(**words)
    assert isinstance(chosen.backend, NumpyBackend)
    assert chosen.world.world_size == 1
    assert chosen.reasons == {"device": "cpu: NumPy knows no other"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"accelerator": "gpu"}, "Received accelerator='gpu'. Use 'auto' or 'cpu'."),
        ({"devices": 2}, "Received devices=2. Use 'auto' or 1."),
        ({"compile": True}, "Received compile=True. Use its default."),
    ],
)
def test_other_hardware_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(**words)
