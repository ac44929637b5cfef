"""The ports: everything the engine asks of the outside world, as typed protocols.

A package satisfies a port structurally, without importing this one, and announces itself by an
entry point (see :mod:`lt_loop.discovery`). Each port has a default in :mod:`lt_loop.solo`, so the
engine never asks whether a port is there.

============  =================================================  =====================
port          question it answers                                entry-point group
============  =================================================  =====================
``Backend``   where are numbers computed, in what precision?     ``lt.backends``
``World``     with which other processes?                        with the backend
``Feed``      what comes next, and where were we?                ``lt.feeds``
``Store``     what survives?                                     ``lt.stores``
============  =================================================  =====================

``Program`` is the fifth protocol: what the user wrote.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")
Fn = TypeVar("Fn", bound=Callable[..., Any])

Phase = Literal[
    "train",
    "accumulate",
    "validate",
    "test",
    "predict",
    "evaluate",
    "evaluate_in_fit",
    "sanity_check",
]
"""What a function is wrapped for: one of four kinds of step; a training step whose batch does not
close its accumulation window; a whole evaluation loop with the hooks around its steps, alone or
within a fit; or the trial of the validation code before training."""

Reduction = Literal["mean", "sum", "min", "max"]


@runtime_checkable
class Program(Protocol):
    """What the user wrote: any object with these two methods can be fitted.

    Every other step and hook (``validation_step``, ``on_train_start``, ``train_dataloader``, ...;
    the table is :data:`lt_loop.hooks.HOOKS`) is optional and is looked up once, when a run is
    planned. If the class has an attribute ``trainer``, the engine sets it before the run, so that
    the program can call ``self.trainer.log(name, value)``.
    """

    def training_step(self, batch: Any, batch_idx: int, /) -> Any:
        """Compute the loss of one batch.

        Returns:
            The loss (a scalar the backend can differentiate), a dict that holds it under
            ``"loss"``, or None to skip this batch.
        """

    def configure_optimizers(self) -> Any:
        """Return the optimizer, or one of the forms that :mod:`lt_loop.optimizers` reads."""


@runtime_checkable
class Backend(Protocol):
    """Where numbers are computed: device, precision, gradients.

    The engine calls :meth:`setup` after the launch, wraps each step function once, and then
    calls the small methods in the step. None of them may wait for the device, except
    :meth:`read`, :meth:`capture` and :meth:`restore`.

    A backend may also have ``collective_forward``, True where all ranks must run the same number of
    forward passes, in an evaluation too, and with it ``undone(parts)``, a block after which the
    program and the metric objects in ``parts`` hold what they held before; ``device_mesh``, which a
    module then finds under the same name; ``first_non_finite(optimizer)``, the name of a parameter
    whose gradient is not finite, or None, which ``on_nonfinite`` asks for; ``prefetches``, True
    where ``prefetch(batches)`` puts batches in place, each once and in order, while the ones before
    are used; and ``adopt(program, weights)``, which gives the program of the process that called
    the weights it got in others.

    One whose ranks meet in :meth:`backward` may have ``all_skip(pending)``, called by a rank that
    has no loss for the batch that closes a window: it stands in for the backward pass, averages the
    gradients of earlier batches where there are some ``pending``, and returns False where the rank
    would have to step with others and can't.

    One that scales the loss may have ``loss_scale``, the factor of the last loss, None where no
    loss is scaled; and ``keep_loss_scale()``, after which the step that was skipped last changes
    nothing about it. Then a step is skipped on all ranks or on none, and the gradients of one that
    is skipped stay as they are, not clipped, until they are dropped.

    A backend may say in ``world`` which World it was composed for, whose ranks agree on gradients
    in its :meth:`backward`; None for one process. A trainer is refused that has it beside another
    one. Of a backend without ``world`` nothing is known: what several ranks have in common is left
    to it and to whoever passes it.
    """

    def setup(self, program: Any, optimizers: Sequence[Any]) -> Sequence[Any]:
        """Move, convert and wrap the program; return the optimizers to step, in the same order.

        Called without optimizers first. In a fit the optimizers are made then, for the program as
        it is by now (moved, sharded, its weights restored), and this is called again with them.
        For another program, what was set up before is let go.

        Raises:
            ValueError: an optimizer holds none of the program's parameters.
        """

    def wrap_step(self, fn: Fn, phase: Phase) -> Fn:
        """Bake into ``fn`` what each call needs, once: autocast, a parallel forward.

        ``"accumulate"`` is asked for where there is accumulation; what it returns is called for
        the batches whose gradients the ranks need not agree on yet.

        For ``"evaluate"``, ``fn`` is a whole evaluation loop, a generator function; nothing inside
        it tracks gradients. With ``"evaluate_in_fit"``, what it makes may be used in training. For
        ``"sanity_check"``, ``fn`` is a function after which the random generators stand where they
        stood before. Arguments, by name too, and what ``fn`` returns are handed on. Returns ``fn``
        where there is nothing to add.
        """

    def place(self, batch: Any) -> Any:
        """Return the batch where the program computes, without waiting for the copy."""

    def zero_grad(self, optimizer: Any) -> None:
        """Drop the gradients of the optimizer's parameters."""

    def backward(self, loss: Any, *, sync: bool) -> None:
        """Add the gradients of ``loss`` to the parameters.

        What a module passes to ``manual_backward`` beside the loss, as ``retain_graph``, is handed
        on by name; a backend need not take it.

        Args:
            loss: a scalar, already divided by the size of the accumulation window.
            sync: False inside an accumulation window, where ranks need not agree yet.

        Raises:
            ValueError: the loss is no scalar or has no gradient.
        """

    def clip(self, optimizer: Any, value: float | None, algorithm: Literal["norm", "value"]) -> Any:
        """Bring the gradients to their true scale and clip them in place.

        Args:
            optimizer: whose parameters' gradients are meant.
            value: the greatest norm or value; None to clip nothing, before hooks that look.
            algorithm: by the total norm, or each value.

        Returns:
            The total norm before; None where it was not needed.
        """

    def step(self, optimizer: Any, closure: Callable[[], Any] | None) -> bool:
        """Step the optimizer. False when a loss scaler found an overflow and skipped the step.

        Args:
            optimizer: one of those :meth:`setup` returned.
            closure: for optimizers that evaluate the loss again, else None.
        """

    def read(self, values: Sequence[Any]) -> list[float]:
        """Turn logged values into numbers, in one transfer: the one place that waits."""

    def capture(self, *, copy: bool = True) -> dict[str, Any]:
        """Return a snapshot of program, optimizers, scaler and random generators of this rank.

        The program's part stands under ``"program"``, a list of the optimizers' under
        ``"optimizers"``, and what belongs to this rank alone under ``"rng"``.

        Args:
            copy: whether later steps must leave what was returned unchanged. Without it, whoever
                asked is done with it before the next step.
        """

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`capture` returned; going on from it gives the same bits.

        Also called with ``program`` alone, ``optimizers`` empty and nothing else, to have the
        program as it was then: before optimizers are set up, and where those of a run before are
        still there, which then stay as they are.
        """


@runtime_checkable
class World(Protocol):
    """With which other processes: this process's place among them, and how they talk.

    A world may also have ``beside()``, which every rank calls at the same time: it returns an
    object with ``rank``, ``world_size``, ``gather`` and ``close`` that another thread may use while
    this one talks over the world. A store may need it to save beside the training. And ``busy()``,
    which returns a block within which a rank that gives no sign of life is not taken for hung.
    """

    @property
    def rank(self) -> int:
        """This process among all, from 0."""

    @property
    def world_size(self) -> int:
        """How many processes there are."""

    @property
    def local_rank(self) -> int:
        """This process among those of its machine, from 0."""

    def launch(self, main: Callable[[], T]) -> T:
        """Run ``main`` in every process, and return what it returned here.

        A world that starts processes itself runs ``main`` in those and not here, has an attribute
        ``starts_processes`` that is True until then, and returns the result of rank 0. Whatever
        ends a rank ends the others, and the first failure is raised here. Works again for the next
        run.
        """

    def reduce(self, values: Sequence[float], op: Reduction) -> list[float]:
        """Combine each value over all ranks; every rank gets the result."""

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return the object of rank ``src`` on every rank."""

    def gather(self, obj: T) -> list[T]:
        """Return the objects of all ranks, in their order, on every rank."""

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def agree(self, code: int) -> int:
        """Return the greatest code that any rank gave; all ranks get the same at the same call.

        Every rank calls it at every safe point of training, so it must not wait for the device, and
        may answer for the call before.
        """


class Stream(Protocol):
    """One loader, opened for one phase of a run and read epoch after epoch.

    It may also have a ``fingerprint``, a mapping of plain data (batch size, length of the data set,
    sampler, seed): what must be the same where a run goes on to the same bits.
    """

    @property
    def length(self) -> int | None:
        """Batches in one epoch, or None where that is not known beforehand."""

    @property
    def once(self) -> bool:
        """True where the loader can be read a single time, as a generator can."""

    @property
    def is_last(self) -> bool:
        """Whether the batch handed out last is the last of its epoch.

        A stream without a length reads one batch ahead when it is asked; its position stays.
        """

    def epoch(self, index: int) -> Iterator[Any]:
        """Yield the batches of epoch ``index``, from its start or from the restored position.

        Raises:
            ValueError: the loader can't be read a second time.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the position: at least ``epoch`` and ``batch``, the batches handed out of it."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position that :meth:`state_dict` returned."""

    def close(self) -> None:
        """Let go of workers and files, also after a failure. May be called twice."""


@runtime_checkable
class Feed(Protocol):
    """What comes next, and where were we: turns a loader into a :class:`Stream`.

    Where the world has several ranks, the feed shares the data among them: in training all get as
    many batches, in an evaluation each sample is read by one. All go on from rank 0's position.

    A feed may also have a method ``in_order(loader)``, which returns the loader without its
    shuffling, or the loader itself where there is none. ``overfit_batches`` asks for it.
    """

    def open(self, loader: Any, *, phase: Phase, world: World) -> Stream:
        """Open a loader for one phase, on this rank.

        Those of training may come as a collection (:func:`lt_loop.several.is_collection`), to be
        read as one: a batch has the form of the collection, and the shorter loaders begin anew
        until the longest ends.

        Raises:
            LookupError: the feed can't read several loaders as one.
            TypeError: the loader is not something that yields batches.
        """


@runtime_checkable
class Store(Protocol):
    """What survives: named states, saved whole or not at all.

    Where a world with several ranks is passed, all of them call. A state says under ``"per_rank"``
    which paths of keys hold what belongs to each rank alone; the rest is taken from rank 0, but for
    tensors that are spread over ranks, of which each saves its part.

    A store may also have ``newest(names)``, which returns the name of the latest state among some:
    where several callbacks save, ``ckpt_path="last"`` means that one.
    """

    def save(
        self,
        state: Mapping[str, Any],
        name: str,
        *,
        metrics: Mapping[str, float] | None = None,
        world: World | None = None,
    ) -> None:
        """Save a state under a name. When it returns, the state survives a crash.

        Where the name is taken, the new state takes the place of the old, or is refused. A save
        that raises leaves what was there before, and nothing new.
        """

    def load(self, name: str, *, world: World | None = None) -> Mapping[str, Any]:
        """Return a saved state.

        Raises:
            LookupError: there is no whole state of that name.
        """

    def list(self) -> Iterable[str]:
        """Name the whole states, oldest first."""

    def remove(self, name: str) -> None:
        """Forget a state."""


class Selection(Protocol):
    """What a backend package's ``select`` makes of the words that speak of hardware."""

    @property
    def backend(self) -> Backend:
        """The backend chosen."""

    @property
    def world(self) -> World:
        """The world chosen."""

    @property
    def reasons(self) -> Mapping[str, str]:
        """Each automatic choice with its reason: ``{"device": "cpu: no GPU visible"}``."""


class Select(Protocol):
    """The object behind an entry point of the group ``lt.backends``.

    It receives every hardware word the user gave to ``Trainer`` and may refuse any of them with a
    ValueError or TypeError that says what is possible on this machine.
    """

    def __call__(self, **words: Any) -> Selection:
        """Choose a backend and a world; words that were not given are absent."""
