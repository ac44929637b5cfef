"""A backend in plain Python that keeps every promise, to break one at a time."""

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lt_loop.conformance import BackendConformance

Gradients = dict[str, float]


class Loss:
    """A number, and its slope by each parameter; None where none were tracked."""

    def __init__(self, value: float, slopes: Gradients | None) -> None:
        self.value, self.slopes = value, slopes

    @property
    def requires_grad(self) -> bool:
        return self.slopes is not None

    def __truediv__(self, size: float) -> "Loss":
        slopes = self.slopes and {name: slope / size for name, slope in self.slopes.items()}
        return Loss(self.value / size, slopes)


class Line:
    """Fits ``y = w * x + b``."""

    tracks = True

    def __init__(self) -> None:
        self.values = {"w": 0.1, "b": -0.2}
        self.slopes: Gradients = {}

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        w, b = self.values.values()
        errors = [(w * x + b - y, x) for x, y in batch]
        value = sum(error**2 for error, _ in errors) / len(batch)
        slopes = {"w": sum(2 * e * x for e, x in errors), "b": sum(2 * e for e, _ in errors)}
        usable = self.tracks and not getattr(batch, "tainted", False)
        return Loss(value, {k: v / len(batch) for k, v in slopes.items()} if usable else None)

    def configure_optimizers(self) -> "Momentum":
        return Momentum(self)


class Momentum:
    def __init__(self, line: Line) -> None:
        self.line, self.speed = line, {"w": 0.0, "b": 0.0}

    def step(self) -> None:
        for name, slope in self.line.slopes.items():
            self.speed[name] = 0.9 * self.speed[name] + slope
            self.line.values[name] -= 0.05 * self.speed[name]


class PlainBackend:
    def setup(self, program: Line, optimizers: Sequence[Momentum]) -> Sequence[Momentum]:
        for optimizer in optimizers:
            if optimizer.line is not program:
                raise ValueError("An optimizer holds parameters of its program.")
        self.program, self.optimizers = program, list(optimizers)
        return list(optimizers)

    def wrap_step(self, fn: Any, phase: str) -> Any:
        if phase.startswith("evaluate"):
            return lambda *arguments, **words: self._untracked(fn(*arguments, **words))
        if phase == "sanity_check":
            return lambda *arguments, **words: self._undrawn(partial(fn, *arguments, **words))
        return fn

    def _untracked(self, loop: Any) -> Any:
        try:
            while True:
                self.program.tracks = False
                try:
                    item = next(loop)
                except StopIteration as end:
                    return end.value
                finally:
                    self.program.tracks = True
                yield item
        finally:
            loop.close()

    def _undrawn(self, fn: Any) -> Any:
        state = random.getstate()
        try:
            return fn()
        finally:
            random.setstate(state)

    def place(self, batch: Any) -> Any:
        return batch

    def zero_grad(self, optimizer: Momentum) -> None:
        optimizer.line.slopes = {}

    def prefetch(self, batches: Any) -> Any:
        """One batch ahead."""
        before: list[Any] = []
        for batch in batches:
            before.append(self.place(batch))
            if len(before) > 1:
                yield before.pop(0)
        yield from before

    def adopt(self, program: Line, weights: Gradients) -> None:
        program.values.update(weights)

    def backward(self, loss: Loss, *, sync: bool) -> None:
        if not isinstance(loss, Loss) or loss.slopes is None:
            raise ValueError(f"A loss knows its gradients. Received {loss!r}.")
        slopes = self.program.slopes
        self.program.slopes = {k: slopes.get(k, 0.0) + slope for k, slope in loss.slopes.items()}

    def clip(self, optimizer: Momentum, value: float | None, algorithm: str) -> float | None:
        slopes = optimizer.line.slopes
        if value is None:
            return None
        if algorithm == "value":
            slopes.update({k: max(-value, min(value, slope)) for k, slope in slopes.items()})
            return None
        norm = math.hypot(*slopes.values())
        slopes.update({k: slope * min(1.0, value / norm) for k, slope in slopes.items()})
        return norm

    def first_non_finite(self, optimizer: Momentum) -> str | None:
        slopes = optimizer.line.slopes.items()
        return next((name for name, slope in slopes if not math.isfinite(slope)), None)

    def step(self, optimizer: Momentum, closure: Callable[[], Any] | None) -> bool:
        if closure is not None:
            closure()
        if self.first_non_finite(optimizer):
            return False
        optimizer.step()
        return True

    def read(self, values: Sequence[Any]) -> list[float]:
        return [float(getattr(value, "value", value)) for value in values]

    def capture(self, *, copy: bool = True) -> dict[str, Any]:
        state = {
            "program": self.program.values,
            "optimizers": [optimizer.speed for optimizer in self.optimizers],
            "rng": random.getstate(),
        }
        return duplicate(state) if copy else state

    def restore(self, state: Mapping[str, Any]) -> None:
        saved = duplicate(dict(state))
        self.program.values.update(saved["program"])
        for optimizer, speed in zip(self.optimizers, saved["optimizers"], strict=False):
            optimizer.speed.update(speed)
        if "rng" in saved:
            random.setstate(saved["rng"])


duplicate = copy.deepcopy


class PlainKit(BackendConformance):
    """The kit, with all but ``make`` filled in."""

    def make(self) -> Any:
        return PlainBackend()

    def program(self) -> Any:
        return Line()

    def batch(self, index: int) -> Any:
        return [(0.3 * n - index, 0.7 * n + index) for n in range(1, 4)]

    def by_hand(self, *indices: int) -> list[tuple[float, list[float]]]:
        line, found = Line(), []
        momentum = line.configure_optimizers()
        for index in indices:
            loss = line.training_step(self.batch(index), 0)
            line.slopes = loss.slopes or {}
            found.append((loss.value, self.gradients(line)))
            momentum.step()
        return found

    def gradients(self, program: Any) -> list[float]:
        return [program.slopes.get(name, 0.0) for name in ("w", "b")]

    def number(self, loss: Any) -> Any:
        return loss.value
