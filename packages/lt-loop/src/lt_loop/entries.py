"""One logged name: its flags made definite, and what it was given in one epoch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lt_loop.ports import Backend, Reduction, World
from lt_loop.spelling import suggestion

Reduce = Reduction | Callable[[Sequence[float]], float]

REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "min", "max")
PENDING_AT_MOST = 512
"""Values kept on their device before they are read, so that a long epoch stays small."""


class Scalar(float):
    """A number that was logged. ``item()`` is there for code written for tensors.

    >>> Scalar(0.5).item() + 1
    1.5
    """

    __slots__ = ()

    def item(self) -> float:
        """Return the plain float."""
        return float(self)


class Flags(NamedTuple):
    """How one name is logged: the flags of ``log``, none of them left open."""

    name: str
    prog_bar: bool
    logger: bool
    on_step: bool
    on_epoch: bool
    reduce_fx: Reduce
    sync_dist: bool

    def spelled(self, *, on_step: bool) -> str:
        """Return the name a value goes by: both moments asked for makes two names."""
        if self.on_step and self.on_epoch:
            return f"{self.name}_{'step' if on_step else 'epoch'}"
        return self.name


class Entry(ABC):
    """What one name was given in one epoch, in one place.

    Attributes:
        flags: how it is logged.
        loader: the index of the loader it belongs to, None for none.
        last: the newest value, as it was given.
        fresh: whether that has not gone to the loggers yet.
        weighted: whether :meth:`add` looks at the weight.
    """

    __slots__ = ("flags", "fresh", "last", "loader", "weighted")

    def __init__(self, flags: Flags, loader: int | None) -> None:
        """Start empty."""
        self.flags, self.loader = flags, loader
        self.weighted = False
        self.last: Any = None
        self.fresh = False

    @abstractmethod
    def add(self, value: Any, weight: float, backend: Backend) -> None:
        """Take in one value."""

    @property
    @abstractmethod
    def empty(self) -> bool:
        """Whether it was given nothing in this epoch."""

    @abstractmethod
    def result(self, backend: Backend, world: World) -> float:
        """Reduce what the epoch gave to one number; over ranks too where ``sync_dist`` is set."""

    def reset(self) -> None:
        """Forget the epoch."""
        self.last = None
        self.fresh = False


class MetricEntry(Entry):
    """A metric object, as torchmetrics has them: it sums up itself, and is asked at the end.

    Such an object has ``compute()`` and ``reset()``. Where it also has what its last ``forward``
    returned, that is its value at a step.
    """

    __slots__ = ("_metric", "_result")

    def __init__(self, flags: Flags, loader: int | None, metric: Any) -> None:
        """Start with a metric that may hold values already."""
        super().__init__(flags, loader)
        self._metric = metric
        self._result: float | None = None

    def add(self, value: Any, weight: float, backend: Backend) -> None:
        """Note that the metric was updated.

        Raises:
            ValueError: it is not the object that went by this name before.
        """
        if value is not self._metric:
            raise ValueError(
                "One name stands for one metric object. Received another one, or a number, for "
                f"log({self.flags.name!r}). Use two names."
            )
        last: Any = getattr(value, "_forward_cache", None)
        self.last = last.detach() if hasattr(last, "detach") else last
        self.fresh = self.last is not None
        self._result = None

    @property
    def empty(self) -> bool:
        """Never: the metric itself knows."""
        return False

    def result(self, backend: Backend, world: World) -> float:
        """Ask the metric, which reduces over ranks itself.

        Raises:
            TypeError: it computes something else than one number.
        """
        if self._result is None:
            value = self._metric.compute()
            try:
                (self._result,) = backend.read([value])
            except (TypeError, ValueError, RuntimeError) as error:
                raise TypeError(
                    "A logged metric computes one number. Received "
                    f"{type(self._metric).__name__} for log({self.flags.name!r}), which computed "
                    f"{type(value).__name__}. Log the numbers in it one by one."
                ) from error
        return self._result

    def reset(self) -> None:
        """Reset the metric too."""
        super().reset()
        self._result = None
        self._metric.reset()


class ScalarEntry(Entry):
    """Numbers, or tensors with one element, reduced as ``reduce_fx`` says."""

    __slots__ = ("_pending", "_total", "_values", "_weight")

    def __init__(self, flags: Flags, loader: int | None) -> None:
        """Start empty."""
        super().__init__(flags, loader)
        self.weighted = flags.on_epoch and flags.reduce_fx == "mean"
        self._pending: list[tuple[Any, float]] = []
        self._values: list[float] = []
        self._total = 0.0
        self._weight = 0.0

    def add(self, value: Any, weight: float, backend: Backend) -> None:
        """Take in one value. One that is no float stays as it is until :meth:`settle`."""
        self.last = value
        self.fresh = True
        if not self.flags.on_epoch:
            return
        if type(value) is float:
            if self._pending:  # sums are taken in the order of the calls
                self.settle(backend)
            self._take(value, weight)
        else:
            self._pending.append((value, weight))
            if len(self._pending) >= PENDING_AT_MOST:
                self.settle(backend)

    def _take(self, value: float, weight: float) -> None:
        reduce = self.flags.reduce_fx
        if reduce == "mean":
            self._total += value * weight
            self._weight += weight
            return
        if reduce == "sum":
            self._total += value
        elif reduce == "min":
            self._total = min(self._total, value) if self._weight else value
        elif reduce == "max":
            self._total = max(self._total, value) if self._weight else value
        else:
            self._values.append(value)
        self._weight = 1.0

    def settle(self, backend: Backend) -> None:
        """Read the values that are still on their device, in one transfer."""
        numbers = backend.read([value for value, _ in self._pending])
        for number, (_, weight) in zip(numbers, self._pending, strict=True):
            self._take(number, weight)
        self._pending.clear()

    @property
    def empty(self) -> bool:
        """Whether it was given nothing in this epoch."""
        return not (self._pending or self._weight)

    def result(self, backend: Backend, world: World) -> float:
        """Reduce the epoch's values to one number."""
        self.settle(backend)
        reduce, total, weight = self.flags.reduce_fx, self._total, self._weight
        if callable(reduce):
            ranks = world.gather(self._values) if self.flags.sync_dist else [self._values]
            return float(reduce([value for values in ranks for value in values]))
        if self.flags.sync_dist:
            if reduce in ("mean", "sum"):
                total, weight = world.reduce([total, weight], "sum")
            else:
                (total,) = world.reduce([total], reduce)
        if reduce != "mean":
            return total
        return total / weight if weight else float("nan")

    def reset(self) -> None:
        """Forget the epoch."""
        super().reset()
        self._pending.clear()
        self._values.clear()
        self._total = self._weight = 0.0

    def state_dict(self, backend: Backend) -> dict[str, Any]:
        """Return the partial sums of the epoch under way, with the flags they were taken under."""
        self.settle(backend)
        flags = self.flags._asdict()
        return {
            "flags": None if callable(self.flags.reduce_fx) else flags,  # a function is no data
            "loader": self.loader,
            "total": self._total,
            "weight": self._weight,
            "values": list(self._values),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put partial sums back."""
        self._total, self._weight = state["total"], state["weight"]
        self._values[:] = state["values"]


def is_metric(value: Any) -> bool:
    """Return whether a logged value is a metric object rather than a number."""
    return hasattr(value, "compute") and hasattr(value, "reset")


def definite(
    key: tuple[str, bool, bool | None, bool | None, bool | None, Any, bool, bool],
    *,
    training_step: bool,
    in_step: bool,
    dataloader_idx: int | None,
) -> Flags:
    """Settle the flags that the user left open, by where ``log`` was called.

    Raises:
        TypeError: the name is no string.
        ValueError: the flags contradict each other or the place of the call.
    """
    name, prog_bar, logger, on_step, on_epoch, reduce_fx, sync_dist, add_dataloader_idx = key
    if not isinstance(name, str):
        raise TypeError(f"A logged name is a string. Received log({name!r}, ...).")
    if add_dataloader_idx and "/dataloader_idx_" in name:
        raise ValueError(
            "The index of the loader is appended to a logged name. Received a name that has one: "
            f"log({name!r}). Leave it out, or pass add_dataloader_idx=False."
        )
    on_step = training_step if on_step is None else on_step
    on_epoch = not training_step if on_epoch is None else on_epoch
    if not on_step and not on_epoch:
        raise ValueError(
            f"A value is logged at a step, at the end of the epoch, or both. Received "
            f"log({name!r}) with on_step and on_epoch both False. Set one of them to True."
        )
    if on_step and not in_step:
        raise ValueError(
            f"on_step=True belongs in a step or a hook around a batch. Received log({name!r}, "
            "on_step=True) in a hook of the epoch. Use on_epoch=True."
        )
    if dataloader_idx is not None and add_dataloader_idx:
        name = f"{name}/dataloader_idx_{dataloader_idx}"
    logger = True if logger is None else logger
    return Flags(name, prog_bar, logger, on_step, on_epoch, _reduction(name, reduce_fx), sync_dist)


def _reduction(name: str, reduce_fx: Any) -> Reduce:
    if reduce_fx in REDUCTIONS:
        return reduce_fx  # type: ignore[no-any-return]
    if callable(reduce_fx):  # torch.mean, max, ... mean what their names say
        known = [word for word in REDUCTIONS if word == getattr(reduce_fx, "__name__", "")]
        return known[0] if known else reduce_fx
    near = suggestion(str(reduce_fx), REDUCTIONS)
    raise ValueError(
        f"reduce_fx is one of {', '.join(REDUCTIONS)} or a function of a list of floats. "
        f"Received log({name!r}, reduce_fx={reduce_fx!r}).{near}"
    )
