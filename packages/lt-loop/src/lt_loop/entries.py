"""One logged name: its flags made definite, and what it was given in one epoch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lt_loop.ports import Backend, Reduction
from lt_loop.spelling import suggestion

Reduce = Reduction | Callable[[Sequence[float]], float]

REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "min", "max")
PENDING_AT_MOST = 512
"""Values kept on their device before they are read, so that a long epoch stays small."""


Partial = tuple[float, float, list[float]]
"""What one rank was given: the total, its weight (0 for nothing), and single values if kept."""


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
    """How one name is logged: the flags of ``log``, none of them left open.

    Attributes:
        name: as it was given.
        loader: what is appended for the loader, empty for none.
    """

    name: str
    loader: str
    prog_bar: bool
    logger: bool
    on_step: bool
    on_epoch: bool
    reduce_fx: Reduce
    sync_dist: bool

    @property
    def full(self) -> str:
        """The name with that of the loader, whatever the moment."""
        return f"{self.name}{self.loader}"

    def spelled(self, *, on_step: bool) -> str:
        """Return the name a value goes by: both moments asked for makes two names."""
        if self.on_step and self.on_epoch:
            return f"{self.name}_{'step' if on_step else 'epoch'}{self.loader}"
        return self.full

    def agrees(self, other: "Flags") -> bool:
        """Return whether two calls log alike. A function written in the call is new each time."""
        mine, theirs = self.reduce_fx, other.reduce_fx
        if callable(mine) and callable(theirs):
            code = getattr(mine, "__code__", mine)
            same = code == getattr(theirs, "__code__", theirs)
            return same and self._replace(reduce_fx=theirs) == other
        return self == other


class Entry(ABC):
    """What one name was given in one epoch, in one place.

    Attributes:
        flags: how it is logged.
        loader: the index of the loader it belongs to, None for none.
        last: the newest value, as it was given.
        fresh: whether that has not gone to the loggers yet.
        changed: whether something was added since :meth:`result` was asked for.
        weighted: whether :meth:`add` looks at the weight.
    """

    __slots__ = ("_result", "changed", "flags", "fresh", "last", "loader", "weighted")

    def __init__(self, flags: Flags, loader: int | None) -> None:
        """Start empty."""
        self.flags, self.loader = flags, loader
        self.weighted = False
        self.last: Any = None
        self.fresh = self.changed = False
        self._result: float | None = None

    @property
    def meets_ranks(self) -> bool:
        """Whether its :meth:`result` waits for the other ranks."""
        return False

    @abstractmethod
    def add(self, value: Any, weight: float, backend: Backend) -> None:
        """Take in one value."""

    def result(self, backend: Backend) -> float | None:
        """Reduce what the epoch gave to one number, once; over ranks too with ``sync_dist``.

        Returns:
            The number, or None where no rank that takes part was given anything.
        """
        if self.changed:
            self._result = self._reduced(backend)
            self.changed = False
        return self._result

    @abstractmethod
    def _reduced(self, backend: Backend) -> float | None:
        """Reduce what the epoch gave to one number."""

    def reset(self) -> None:
        """Forget the epoch."""
        self.last = self._result = None
        self.fresh = self.changed = False


class MetricEntry(Entry):
    """A metric object, as torchmetrics has them: it sums up itself, and is asked at the end.

    Such an object has ``compute()`` and ``reset()``. Where it also has what its last ``forward``
    returned, that is its value at a step.

    Attributes:
        metric: the object.
    """

    __slots__ = ("metric",)

    def __init__(self, flags: Flags, loader: int | None, metric: Any) -> None:
        """Start with a metric that may hold values already."""
        super().__init__(flags, loader)
        self.metric = metric

    @property
    def meets_ranks(self) -> bool:
        """Whether the metric reduces over ranks itself, as torchmetrics' do."""
        return self.flags.on_epoch and bool(getattr(self.metric, "sync_on_compute", False))

    def add(self, value: Any, weight: float, backend: Backend) -> None:
        """Note that the metric was updated.

        Raises:
            ValueError: it is not the object that went by this name before.
        """
        if value is not self.metric:
            raise ValueError(
                "One name stands for one metric object. Received another one, or a number, for "
                f"log({self.flags.name!r}). Use two names."
            )
        last: Any = getattr(value, "_forward_cache", None)
        self.last = last.detach() if hasattr(last, "detach") else last
        self.fresh, self.changed = self.last is not None, True

    def _reduced(self, backend: Backend) -> float:
        """Ask the metric, which reduces over ranks itself.

        Raises:
            TypeError: it computes something else than one number.
        """
        value = self.metric.compute()
        try:
            (number,) = backend.read([value])
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                "A logged metric computes one number. Received "
                f"{type(self.metric).__name__} for log({self.flags.name!r}), which computed "
                f"{type(value).__name__}. Log the numbers in it one by one."
            ) from error
        return number

    def reset(self) -> None:
        """Reset the metric too."""
        super().reset()
        self.metric.reset()


class ScalarEntry(Entry):
    """Numbers, or tensors with one element, reduced as ``reduce_fx`` says."""

    __slots__ = ("_of_ranks", "_pending", "_total", "_values", "_weight")

    def __init__(self, flags: Flags, loader: int | None) -> None:
        """Start empty."""
        super().__init__(flags, loader)
        self.weighted = flags.on_epoch and flags.reduce_fx == "mean"
        self._pending: list[tuple[Any, float]] = []
        self._values: list[float] = []
        self._total = 0.0
        self._weight = 0.0
        self._of_ranks: Sequence[Partial] = ()

    def add(self, value: Any, weight: float, backend: Backend) -> None:
        """Take in one value. One that is no float stays as it is until :meth:`settle`."""
        self.last = value
        self.fresh = True
        if not self.flags.on_epoch:
            return
        self.changed = True
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

    def partial(self, backend: Backend) -> Partial:
        """Return what this rank was given, for :meth:`combine` on every rank."""
        self.settle(backend)
        return self._total, self._weight, list(self._values)

    def combine(self, ranks: Sequence[Partial]) -> None:
        """Take the sums of all ranks as the base of :meth:`result`, in place of this one's."""
        self._of_ranks = ranks
        self.changed = True

    def _reduced(self, backend: Backend) -> float | None:
        ranks = self._of_ranks or [self.partial(backend)]
        given = [partial for partial in ranks if partial[1]]
        if not given:
            return None
        reduce = self.flags.reduce_fx
        totals = [total for total, _, _ in given]
        if reduce == "mean":
            return sum(totals) / sum(weight for _, weight, _ in given)
        if callable(reduce):
            return float(reduce([value for _, _, values in given for value in values]))
        if reduce == "sum":
            return sum(totals)
        return min(totals) if reduce == "min" else max(totals)

    def reset(self) -> None:
        """Forget the epoch."""
        super().reset()
        self._pending.clear()
        self._values.clear()
        self._total = self._weight = 0.0
        self._of_ranks = ()

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
        self.changed = True


def check_number(name: str, value: Any) -> None:
    """Check that a value can be read as a number.

    Raises:
        TypeError: it can't.
    """
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise TypeError(
            "A logged value is a number, a tensor with one element, or a metric object. Received "
            f"log({name!r}, {value!r}) of type {type(value).__name__}."
        )


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
    named = dataloader_idx is not None and add_dataloader_idx
    return Flags(
        name=name,
        loader=f"/dataloader_idx_{dataloader_idx}" if named else "",
        prog_bar=prog_bar,
        logger=True if logger is None else logger,
        on_step=on_step,
        on_epoch=on_epoch,
        reduce_fx=_reduction(name, reduce_fx),
        sync_dist=sync_dist,
    )


def _reduction(name: str, reduce_fx: Any) -> Reduce:
    if reduce_fx == "avg":
        return "mean"
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
