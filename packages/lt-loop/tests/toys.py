"""A model small enough to be worked out by hand: a line through the origin, in plain floats.

It has what the engine asks of torch (a loss with ``backward``, an optimizer with ``step`` and
``zero_grad``, states) and no more, so a run can be compared to the last bit with :func:`by_hand`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lt_loop import Callback, Trainer
from lt_loop.hooks import HOOKS
from lt_loop.solo import DuckBackend, IterableFeed

Batch = tuple[list[float], list[float]]
"""The inputs and the targets."""


def batches(count: int, *, start: int = 0) -> list[Batch]:
    """Batches of different sizes with inexact numbers, so that no two sums are alike by luck."""
    made = []
    for n in range(start + 1, start + count + 1):
        sizes = range(1 + n % 3)
        made.append(([0.1 * n + k for k in sizes], [0.3 * n - 0.7 * k for k in sizes]))
    return made


class Weight:
    """A parameter."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        self.grad: float | None = None


class Loss:
    """The mean of ``(weight * x - y) ** 2``, which can be divided and differentiated."""

    def __init__(self, weight: Weight, value: float, slope: float) -> None:
        self._weight, self._value, self._slope = weight, value, slope

    def __float__(self) -> float:
        return self._value

    def __truediv__(self, size: int) -> "Loss":
        return Loss(self._weight, self._value / size, self._slope / size)

    def backward(self) -> None:
        self._weight.grad = (self._weight.grad or 0.0) + self._slope

    def detach(self) -> "Detached":
        return Detached(self._value)


class Detached(float):
    """A loss without its graph. It can be weakly referenced, as a tensor can."""


def value_and_slope(weight: float, batch: Batch) -> tuple[float, float]:
    """The loss of a batch and its derivative."""
    xs, ys = batch
    errors = [weight * x - y for x, y in zip(xs, ys, strict=True)]
    value = sum(e * e for e in errors) / len(xs)
    return value, sum(2 * e * x for e, x in zip(errors, xs, strict=True)) / len(xs)


class Sgd:
    """Gradient descent with momentum, with the face of a torch optimizer."""

    def __init__(self, weight: Weight, lr: float = 0.02, momentum: float = 0.5) -> None:
        self.weight, self.momentum, self.speed = weight, momentum, 0.0
        self.param_groups = [{"lr": lr}]

    def zero_grad(self) -> None:
        self.weight.grad = None

    def step(self) -> None:
        if self.weight.grad is not None:
            self.speed = self.momentum * self.speed + self.weight.grad
            self.weight.value -= self.param_groups[0]["lr"] * self.speed

    def state_dict(self) -> dict[str, float]:
        return {"speed": self.speed, "lr": self.param_groups[0]["lr"]}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.speed, self.param_groups[0]["lr"] = state["speed"], state["lr"]


class Halving:
    """A learning-rate scheduler that halves the rate with each step."""

    def __init__(self, optimizer: Sgd) -> None:
        self.optimizer, self.steps = optimizer, 0

    def step(self) -> None:
        self.steps += 1
        self.optimizer.param_groups[0]["lr"] *= 0.5

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


class Line:
    """The program: learns the slope of a line. All four steps are there."""

    trainer: Any = None

    def __init__(self, slope: float = 0.0) -> None:
        self.weight = Weight(slope)

    def loss(self, batch: Batch) -> Loss:
        return Loss(self.weight, *value_and_slope(self.weight.value, batch))

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        return self.loss(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        return float(self.loss(batch))

    def test_step(self, batch: Batch, batch_idx: int) -> Any:
        return float(self.loss(batch))

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return [self.weight.value * x for x in batch[0]]

    def configure_optimizers(self) -> Any:
        return Sgd(self.weight)

    def state_dict(self) -> dict[str, float]:
        return {"slope": self.weight.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.weight.value = state["slope"]


class Everything(Line):
    """A program that does in each hook what the engine would do, or needs."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [{"scheduler": Halving(optimizer), "interval": "step"}]

    def train_dataloader(self) -> Any:
        return batches(2)

    def val_dataloader(self) -> Any:
        return batches(1)

    test_dataloader = predict_dataloader = val_dataloader

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return float(self.loss(batch))

    test_step = validation_step

    def configure_callbacks(self) -> list[Callback]:
        return []

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step()

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch

    on_after_batch_transfer = on_before_batch_transfer

    def training_step_end(self, output: Any) -> Any:
        return output

    validation_step_end = test_step_end = training_step_end

    def backward(self, loss: Any) -> None:
        loss.backward()

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, closure: Callable[[], Any]
    ) -> None:
        optimizer.step(closure=closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        optimizer.zero_grad()


def by_hand(
    data: Sequence[Batch], *, epochs: int = 1, accumulate: int = 1, halve_each_step: bool = False
) -> float:
    """The loop that a run of :class:`Line` replaces; return the slope it learns."""
    optimizer = Sgd(Weight())
    for _ in range(epochs):
        train_by_hand(optimizer, data, accumulate=accumulate, halve_each_step=halve_each_step)
    return optimizer.weight.value


def train_by_hand(
    optimizer: Sgd, data: Sequence[Batch], *, accumulate: int, halve_each_step: bool = False
) -> None:
    """One epoch of it."""
    weight = optimizer.weight
    for start in range(0, len(data), accumulate):
        window = data[start : start + accumulate]
        weight.grad = 0.0
        for batch in window:
            weight.grad += value_and_slope(weight.value, batch)[1] / len(window)
        optimizer.step()
        if halve_each_step:
            optimizer.param_groups[0]["lr"] *= 0.5


class Stream:
    """An iterable without a length, read anew in each epoch."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = list(items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def make_trainer(**words: Any) -> Trainer:
    """A Trainer with the defaults of lt-loop alone, whatever else is installed."""
    defaults = {
        "backend": DuckBackend(),
        "feed": IterableFeed(),
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    return Trainer(**(defaults | words))


class LogKeeper(Callback):
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        self.lines.append((step, metrics))

    def points(self, name: str) -> list[tuple[int, float]]:
        """The steps and values of one name."""
        return [(step, metrics[name]) for step, metrics in self.lines if name in metrics]


class Calling(Callback):
    """Calls ``act(trainer)`` at one hook, the n-th time it is reached (None: each time)."""

    def __init__(self, hook: str, act: Any, *, at: int | None = None) -> None:
        self._act, self._at, self.calls = act, at, 0
        setattr(self, hook, self._reached)

    def _reached(self, trainer: Trainer, module: Any, *arguments: Any) -> Any:
        self.calls += 1
        if self._at is None or self.calls == self._at:
            return self._act(trainer)
        return None


def recording(cls: type, kind: str, calls: list[str]) -> Any:
    """An instance of a class that writes down each call of a hook but ``on_log``."""

    def recorded(name: str, method: Callable[..., Any] | None) -> Callable[..., Any]:
        def hook(self: Any, *arguments: Any) -> Any:
            calls.append(f"{kind} {name}")
            return method(self, *arguments) if method else None

        return hook

    names = [hook.name for hook in HOOKS.values() if kind in hook.owners and hook.name != "on_log"]
    body = {name: recorded(name, getattr(cls, name, None)) for name in names}
    return type(cls.__name__, (cls,), body)()
