"""The backend keeps every promise of its port, and says what it can't do."""

import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lt_jax import Adam, JaxBackend, select

from lt_loop.conformance import BackendConformance


class Line:
    """Fits ``y = x w + b``, and tells how far off it is."""

    def __init__(self) -> None:
        self.params = {"w": jnp.linspace(-1, 1, 3), "b": jnp.zeros(())}

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        x, y = batch
        error = x @ self.params["w"] + self.params["b"] - y
        return {"loss": (error**2).mean(), "furthest": abs(error).max()}

    def configure_optimizers(self) -> Adam:
        return Adam(self, lr=0.1)


def flat(tree: Any) -> list[float]:
    return np.concatenate(list(map(np.ravel, jax.tree.leaves(tree)))).tolist()


class TestJaxBackend(BackendConformance):
    program = staticmethod(Line)
    draws = (random.random, np.random.random)

    def make(self) -> Any:
        self.backend = JaxBackend()
        return self.backend

    def batch(self, index: int) -> Any:
        rng = np.random.default_rng(index)
        return rng.normal(size=(5, 3)).astype("f"), rng.normal(size=5).astype("f")

    def by_hand(self, *indices: int) -> list[tuple[float, list[float]]]:
        def loss_of(params: Any, batch: Any) -> Any:
            line.params = params
            return line.training_step(batch, 0)["loss"]

        line, params, found = Line(), Line().params, []
        optimizer = line.configure_optimizers()
        for index in indices:
            loss, gradients = jax.value_and_grad(loss_of)(params, self.batch(index))
            found.append((float(loss), flat(gradients)))
            line.params = params  # no longer what was traced
            optimizer.step(gradients)
            params = line.params
        return found

    def gradients(self, program: Line) -> list[float]:
        return flat(self.backend.gradients)

    def number(self, loss: Any) -> Any:
        return loss.value


def test_what_is_returned_beside_the_loss_comes_back() -> None:
    backend, line = JaxBackend(), Line()
    backend.setup(line, [])
    x, y = TestJaxBackend().batch(0)
    output = backend.wrap_step(line.training_step, "train")((x, y), 0)
    expected = np.abs(x @ np.linspace(-1, 1, 3) - y).max()
    assert backend.read([output["furthest"]]) == pytest.approx([expected])


def test_other_hardware_is_refused() -> None:
    assert isinstance(select(devices=1, precision="32-true").backend, JaxBackend)
    with pytest.raises(ValueError, match=r"Received precision='16-mixed'. Use 32 or '32-true'"):
        select(precision="16-mixed")
    with pytest.raises(ValueError, match=r"Received compile=True. Use its default"):
        select(compile=True)
