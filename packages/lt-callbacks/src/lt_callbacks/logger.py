"""Logger: what every logger has, under Lightning's names."""

import functools
import logging
import warnings
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from lt_callbacks.spelling import suggestion
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")

OnError = Literal["warn", "raise"]
ON_ERROR = ("warn", "raise")

P = ParamSpec("P")
L = TypeVar("L", bound="Logger")


def on_rank_zero(
    method: Callable[Concatenate[L, P], None],
) -> Callable[Concatenate[L, P], None]:
    """Let a method of a logger do nothing on the ranks that do not write."""

    def call(self: L, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.writes:
            method(self, *args, **kwargs)

    functools.update_wrapper(call, method)
    return call


class Logger(Callback, ABC):
    """A callback that records what is logged. Abstract.

    A logger of your own needs :meth:`log_metrics`, :attr:`name` and :attr:`version`, as in
    Lightning. Called by hand, its methods raise what goes wrong. Called by a run, what goes wrong
    in writing becomes one ``RuntimeWarning``, and the training goes on, unless
    ``on_error="raise"`` asked for the exception.

    In a run of several processes only rank 0 writes; on the others the methods do nothing.

    Args:
        prefix: what stands before each name, with a dash.
        on_error: what a run does when a logger fails: ``"warn"`` or ``"raise"``.

    Raises:
        ValueError: ``on_error`` is neither.
    """

    writes: bool = True
    """Whether this process is the one that writes. Known from the start of the first run on."""

    def __init__(self, *, prefix: str = "", on_error: OnError = "warn") -> None:
        if on_error not in ON_ERROR:
            raise ValueError(
                f"on_error is one of {ON_ERROR}. Received on_error={on_error!r}."
                f"{suggestion(str(on_error), ON_ERROR)}"
            )
        self._prefix, self._on_error = prefix, on_error
        self._status = "success"
        self._in_run = False
        self._warned: set[str] = set()

    @property
    @abstractmethod
    def name(self) -> str | None:
        """The experiment."""

    @property
    @abstractmethod
    def version(self) -> int | str | None:
        """The run within the experiment."""

    @property
    def save_dir(self) -> str | None:
        """The folder of all experiments, None for a logger that has none."""
        return None

    @property
    def root_dir(self) -> str | None:
        """The folder of all versions, None for a logger that has none."""
        return None

    @property
    def log_dir(self) -> str | None:
        """The folder this logger writes to, None for a logger that has none."""
        return None

    @property
    def group_separator(self) -> str:
        """What stands between the group and the name of a metric."""
        return "/"

    @property
    def experiment(self) -> Any:
        """The object of the library underneath; None where there is none."""
        return None

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record numbers, or tensors with one element.

        Args:
            metrics: name to number.
            step: the index of the optimizer step.
        """

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        """Record hyper-parameters. The engine hands out those that a module saved."""

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Record the graph of a model, where the logger can show one.

        Args:
            model: the module.
            input_array: an input for it; None for its ``example_input_array``.
        """

    def save(self) -> None:
        """Write everything logged so far to where it belongs."""

    def finalize(self, status: str) -> None:
        """Write everything, and close what is open; logging on opens it again.

        Args:
            status: how the run ended: ``"success"``, ``"failed"`` or ``"interrupted"``.
        """
        self.save()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Learn whether this process writes."""
        self.writes = trainer.is_global_zero
        self._status, self._warned, self._in_run = "success", set(), True

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        """Record what the engine hands out."""
        with self.tolerating("recording metrics"):
            self.log_metrics(metrics, step)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Remember how the run ended."""
        self._status = "interrupted" if isinstance(exception, KeyboardInterrupt) else "failed"

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Write everything and close: also after an exception."""
        self._in_run = False
        with self.tolerating("writing the rest of its records"):
            self.finalize(self._status)

    @contextmanager
    def tolerating(self, doing: str) -> Iterator[None]:
        """Make of what goes wrong inside a warning, once for each run, unless asked to raise it."""
        try:
            yield
        except Exception as error:
            if self._on_error == "raise":
                raise
            what = f"{type(self).__name__} failed in {doing}: {type(error).__name__}: {error}"
            self.warn(f"{what}. The run goes on; on_error='raise' would end it.", about=doing)

    def warn(self, message: str, *, about: str) -> None:
        """Warn, once for each run and subject; what follows is logged."""
        if about in self._warned:
            log.info(message)
            return
        self._warned.add(about)
        warnings.warn(message, RuntimeWarning, stacklevel=3)

    def prefixed(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Return the metrics as numbers, with the prefix before each name."""
        before = f"{self._prefix}-" if self._prefix else ""
        return {
            before + name: value if isinstance(value, int) else float(value)
            for name, value in metrics.items()
        }


class NoExperiment:
    """Stands in for ``logger.experiment`` on the ranks that do not write: it accepts everything."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Do nothing."""
        return self

    def __getitem__(self, _: Any) -> Any:
        return self

    def __setitem__(self, _: Any, __: Any) -> None:
        """Forget it."""
