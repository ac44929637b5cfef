"""A backend for JAX: the step is differentiated and compiled where the engine wraps it.

A program of its kind keeps what is learned in ``self.params``, a pytree of arrays, and computes its
loss from it in ``training_step``. The backend makes one function of parameters and batch of that,
and compiles it with its gradient: the engine's ``loss`` then brings its gradients along.
``Trainer(backend="jax")`` finds it by the entry point in pyproject.toml.
"""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lt_loop.solo import OneProcess


class Loss:
    """A number on its device, and the gradients of the parameters, a pytree like theirs."""

    def __init__(self, value: jax.Array, gradients: Any) -> None:
        self.value, self.gradients = value, gradients

    def __truediv__(self, n: float) -> "Loss":
        return Loss(self.value / n, jax.tree.map(lambda gradient: gradient / n, self.gradients))

    def detach(self) -> jax.Array:
        """Return the number alone, as callbacks get it."""
        return self.value


class Adam:
    """Adam (Kingma and Ba, 2015), for the parameters of one program."""

    def __init__(self, program: Any, lr: float = 1e-3) -> None:
        self.program, self.lr = program, lr
        zeros = jax.tree.map(jnp.zeros_like, program.params)
        self.state = {"mean": zeros, "square": zeros, "steps": jnp.zeros((), jnp.int32)}

    def step(self, gradients: Any) -> None:
        self.program.params, self.state = adam_step(
            self.program.params, self.state, gradients, self.lr
        )


@jax.jit
def adam_step(params: Any, state: Any, gradients: Any, lr: float) -> tuple[Any, Any]:
    """Return parameters and state after one step."""
    steps = state["steps"] + 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["mean"], gradients)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, state["square"], gradients)
    rate = lr * jnp.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
    params = jax.tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s) + 1e-8), params, mean, square)
    return params, {"mean": mean, "square": square, "steps": steps}


class JaxBackend:
    """The port Backend for pytrees of JAX arrays."""

    def setup(self, program: Any, optimizers: Sequence[Adam]) -> Sequence[Adam]:
        for optimizer in optimizers:
            if optimizer.program is not program:
                raise ValueError(
                    "An optimizer must hold the parameters of the program it trains. Received "
                    f"{type(optimizer).__name__} of another {type(optimizer.program).__name__}. "
                    "Make it in configure_optimizers."
                )
        self.program, self.optimizers = program, list(optimizers)
        self.program.params = jax.device_put(program.params)
        self.gradients = jax.tree.map(jnp.zeros_like, program.params)
        return self.optimizers

    def wrap_step(self, fn: Callable[..., Any], phase: str) -> Callable[..., Any]:
        if phase in ("train", "accumulate"):
            return differentiated(fn, self.program)
        return undrawn(fn) if phase == "sanity_check" else fn

    def place(self, batch: Any) -> Any:
        return jax.device_put(batch)

    def zero_grad(self, optimizer: Adam) -> None:
        self.gradients = jax.tree.map(jnp.zeros_like, self.program.params)

    def backward(self, loss: Loss, *, sync: bool) -> None:
        if not isinstance(loss, Loss):
            raise TypeError(
                "The loss is what a training_step returned that this backend has wrapped. Received "
                f"{type(loss).__name__}. Return a scalar computed from self.params."
            )
        self.gradients = jax.tree.map(jnp.add, self.gradients, loss.gradients)

    def clip(self, optimizer: Adam, value: float | None, algorithm: str) -> jax.Array | None:
        if value is None:
            return None
        if algorithm == "value":
            self.gradients = jax.tree.map(lambda g: jnp.clip(g, -value, value), self.gradients)
            return None
        norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(self.gradients)))
        scale = jnp.minimum(1.0, value / (norm + 1e-6))
        self.gradients = jax.tree.map(lambda g: g * scale, self.gradients)
        return norm

    def first_non_finite(self, optimizer: Adam) -> str | None:
        for path, gradient in jax.tree.leaves_with_path(self.gradients):
            if not jnp.isfinite(gradient).all():
                return jax.tree_util.keystr(path)
        return None

    def step(self, optimizer: Adam, closure: Callable[[], Any] | None) -> bool:
        if closure is not None:
            closure()
        optimizer.step(self.gradients)
        return True

    def read(self, values: Sequence[Any]) -> list[float]:
        return [float(value) for value in jax.device_get(list(values))]

    def capture(self, *, copy: bool = True) -> dict[str, Any]:
        """Return NumPy arrays, which a checkpoint can hold. JAX never changes its own in place."""
        state = {
            "program": self.program.params,
            "optimizers": [optimizer.state for optimizer in self.optimizers],
        }
        return {**jax.tree.map(np.array, state), "rng": drawn_so_far()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.program.params = jax.tree.map(jnp.array, state["program"])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=False):
            optimizer.state = jax.tree.map(jnp.array, own)
        if "rng" in state:
            put_back(state["rng"])


def differentiated(fn: Callable[..., Any], program: Any) -> Callable[..., Any]:
    """Return a training step whose loss brings its gradients along, compiled with them.

    In the step, ``self.params`` are then the traced ones. What it returns beside the loss comes
    back as arrays; to log it, write ``on_train_batch_end``.
    """

    def loss_and_rest(params: Any, batch: Any, batch_idx: Any) -> tuple[jax.Array, Any]:
        own, program.params = program.params, params
        try:
            output = fn(batch, batch_idx)
        finally:
            program.params = own
        rest = dict(output) if isinstance(output, dict) else {"loss": output}
        return rest.pop("loss"), rest

    compiled = jax.jit(jax.value_and_grad(loss_and_rest, has_aux=True))

    @functools.wraps(fn)
    def step(batch: Any, batch_idx: int) -> dict[str, Any]:
        (value, rest), gradients = compiled(program.params, batch, batch_idx)
        return {"loss": Loss(value, gradients), **rest}

    return step


def drawn_so_far() -> dict[str, Any]:
    """Return where the random generators of the process stand. JAX has none: keys are values."""
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

    backend: JaxBackend
    world: OneProcess
    reasons: Mapping[str, str]


def select(**words: Any) -> Selection:
    """Choose the backend for the hardware words of a Trainer: JAX's default device, in float32.

    Raises:
        ValueError: a word asks for something else.
    """
    device = jax.devices()[0]
    served = {
        "accelerator": ("auto", device.platform),
        "devices": ("auto", 1),
        "precision": (32, "32-true"),
    }
    for word, value in words.items():
        if value not in served.get(word, ()):
            rule = " or ".join(map(repr, served[word])) if word in served else "its default"
            raise ValueError(
                f"This backend computes on JAX's first device, in float32. Received {word}="
                f"{value!r}. Use {rule}."
            )
    return Selection(JaxBackend(), OneProcess(), {"device": f"{device}: JAX's first device"})
