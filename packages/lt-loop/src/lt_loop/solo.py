"""The ports' defaults: one process, duck-typed numbers, any iterable, nothing that survives."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from copy import deepcopy
from itertools import islice
from typing import Any, Literal, NoReturn

from lt_loop.ports import Fn, Phase, Reduction, Stream, T, World
from lt_loop.several import described, is_collection


class DuckBackend:
    """A Backend for anything that looks like torch: ``loss.backward()``, ``optimizer.step()``.

    It moves and converts nothing. For devices and precision install lt-accel.
    """

    def __init__(self) -> None:
        """Make a backend; :meth:`setup` gives it the program."""
        self._program: Any = None
        self._optimizers: Sequence[Any] = ()

    def setup(self, program: Any, optimizers: Sequence[Any]) -> Sequence[Any]:
        """Remember both for :meth:`capture`."""
        self._program, self._optimizers = program, optimizers
        return optimizers

    def wrap_step(self, fn: Fn, phase: Phase) -> Fn:
        """Return ``fn``: there is nothing to add."""
        return fn

    def place(self, batch: Any) -> Any:
        """Return the batch as it is."""
        return batch

    def zero_grad(self, optimizer: Any) -> None:
        """Call ``optimizer.zero_grad()``."""
        optimizer.zero_grad()

    def backward(self, loss: Any, *, sync: bool, **options: Any) -> None:
        """Call ``loss.backward()``.

        Raises:
            TypeError: the loss has no such method.
        """
        if not hasattr(loss, "backward"):
            raise TypeError(
                f"The loss must have a method backward(). Received {type(loss).__name__}. Return a "
                "tensor from training_step, or pass a Trainer(backend=...) for other numbers."
            )
        loss.backward(**options)

    def clip(
        self, optimizer: Any, value: float | None, algorithm: Literal["norm", "value"]
    ) -> None:
        """Refuse to clip: without knowing the numbers there is nothing to do.

        Raises:
            ValueError: there is a value to clip to.
        """
        if value is not None:
            raise ValueError(
                "Clipping gradients needs a backend that knows them. Received "
                f"gradient_clip_val={value}, gradient_clip_algorithm={algorithm!r} for "
                f"{type(optimizer).__name__}. Install lt-accel or pass Trainer(backend=...)."
            )

    def step(self, optimizer: Any, closure: Callable[[], Any] | None) -> bool:
        """Call ``optimizer.step()``, with the closure if there is one."""
        if closure is None:
            optimizer.step()
        else:
            optimizer.step(closure)
        return True

    def read(self, values: Sequence[Any]) -> list[float]:
        """Convert each value with ``float``."""
        return [float(value) for value in values]

    def capture(self, *, copy: bool = True) -> dict[str, Any]:
        """Return the ``state_dict()`` of the program and of each optimizer, where they have one."""
        state = {
            "program": _state_of(self._program),
            "optimizers": [_state_of(optimizer) for optimizer in self._optimizers],
        }
        return deepcopy(state) if copy else state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Give the states back to ``load_state_dict()``, where there is one.

        Those of optimizers go to those that were set up, if there are any of either.
        """
        optimizers = self._optimizers if state["optimizers"] else []
        saved_ones = state["optimizers"] if self._optimizers else []
        owners = [self._program, *optimizers]
        for owner, saved in zip(owners, [state["program"], *saved_ones], strict=True):
            if hasattr(owner, "load_state_dict"):
                owner.load_state_dict(saved)


class OneProcess:
    """A World of one process."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    def launch(self, main: Callable[[], T]) -> T:
        """Call ``main`` here."""
        return main()

    def reduce(self, values: Sequence[float], op: Reduction) -> list[float]:
        """Return the values: one rank has nothing to combine."""
        return list(values)

    def broadcast(self, obj: T, src: int = 0) -> T:
        """Return the object."""
        return obj

    def gather(self, obj: T) -> list[T]:
        """Return the object alone."""
        return [obj]

    def barrier(self) -> None:
        """Do nothing: everybody is here."""

    def agree(self, code: int) -> int:
        """Return the code: one rank agrees with itself."""
        return code


class IterableFeed:
    """A Feed for any iterable of batches, read anew in every epoch."""

    def open(self, loader: Any, *, phase: Phase, world: World) -> Stream:
        """Open an iterable.

        Raises:
            LookupError: it is a collection of loaders, which another feed can read as one.
            TypeError: it is not one, or yields samples rather than batches.
            ValueError: there are other ranks to share with.
        """
        if is_collection(loader):
            raise LookupError(
                "Several loaders are read as one by a feed that can. Received a "
                f"{described(loader)} as {phase} loader. Install lt-data (where it is installed, "
                "name it: Trainer(feed='torch')), or pass one loader."
            )
        if isinstance(loader, type):
            raise TypeError(
                f"A {phase} loader must be an object. Received the class {loader.__name__}. "
                f"Make an instance: {loader.__name__}(...)."
            )
        if not hasattr(loader, "__iter__") and hasattr(loader, "__getitem__"):
            raise TypeError(
                f"A {phase} loader must yield batches. Received {type(loader).__name__}, which "
                "looks like a dataset: it has items but no __iter__. Wrap it in a DataLoader."
            )
        if isinstance(loader, str | bytes) or not hasattr(loader, "__iter__"):
            raise TypeError(
                f"A {phase} loader must be an iterable of batches. Received {loader!r}. "
                "Pass a DataLoader or a list of batches."
            )
        if world.world_size > 1:
            raise ValueError(
                "Sharing data among processes needs a feed that can. "
                f"Received world_size={world.world_size}. Pass a Trainer(feed=...) that can."
            )
        return CountedIterable(loader)

    def in_order(self, loader: Any) -> Any:
        """Return the loader: what any iterable yields is known to itself alone.

        Raises:
            LookupError: it is a loader of torch's that draws its samples at random.
        """
        sampler = type(getattr(loader, "sampler", None)).__name__
        if "Random" in sampler:
            raise LookupError(
                "Reading a shuffled loader in order takes a feed that can. Received a "
                f"{type(loader).__name__} with a {sampler}. Install lt-data (where it is "
                "installed, name it: Trainer(feed='torch')), or pass a loader with shuffle=False."
            )
        return loader


class CountedIterable:
    """A Stream over any iterable, which counts the batches it hands out."""

    def __init__(self, loader: Iterable[Any]) -> None:
        """Open the iterable without reading from it."""
        self._loader = loader
        self._epoch = 0
        self._batch = 0
        self._resumed = self._read = False
        self._reading: Iterator[Any] = iter(())
        self._ahead: list[Any] = []
        self.once: bool = iter(loader) is loader if hasattr(loader, "__next__") else False

    @property
    def length(self) -> int | None:
        """``len()`` of the iterable, where it has one."""
        try:
            return len(self._loader) if isinstance(self._loader, Sized) else None
        except TypeError:  # how a DataLoader says that its data set has none
            return None

    @property
    def is_last(self) -> bool:
        """Whether the batch handed out last is the last: without a length, by reading ahead."""
        if self.length is not None:
            return self._batch == self.length
        if not self._ahead:
            self._ahead.extend(islice(self._reading, 1))
        return not self._ahead

    def epoch(self, index: int) -> Iterator[Any]:
        """Yield the batches of one epoch; a restored position is reached by reading up to it.

        Raises:
            ValueError: the loader can be read once, and was.
        """
        if self.once and self._read:
            raise ValueError(
                "A loader that is read in several epochs starts anew each time. Received a "
                f"{type(self._loader).__name__}, which can be read once. Pass a list, or an object "
                "whose __iter__ returns a new iterator."
            )
        self._read = True
        skip = self._batch if self._resumed and index == self._epoch else 0
        self._resumed = False
        self._epoch, self._batch = index, 0
        self._ahead.clear()
        self._reading = iter(self._loader)
        for batch in self._reading:
            self._batch += 1
            if self._batch > skip:
                yield batch
            while self._ahead:
                self._batch += 1
                yield self._ahead.pop()

    def state_dict(self) -> dict[str, Any]:
        """Return epoch and batch."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after that batch of that epoch."""
        self._epoch, self._batch = state["epoch"], state["batch"]
        self._resumed = True

    def close(self) -> None:
        """Do nothing: the iterable is the user's."""


class NoStore:
    """A Store that keeps nothing and says what to install."""

    def save(
        self,
        state: Mapping[str, Any],
        name: str,
        *,
        metrics: Mapping[str, float] | None = None,
        world: World | None = None,
    ) -> NoReturn:
        """Refuse.

        Raises:
            LookupError: always.
        """
        raise _no_store(f"saving {name!r} ({len(state)} entries, metrics {metrics})")

    def load(self, name: str, *, world: World | None = None) -> NoReturn:
        """Refuse.

        Raises:
            LookupError: always.
        """
        raise _no_store(f"loading {name!r}")

    def list(self) -> list[str]:
        """Return no names."""
        return []

    def remove(self, name: str) -> NoReturn:
        """Refuse.

        Raises:
            LookupError: always.
        """
        raise _no_store(f"removing {name!r}")


def _no_store(request: str) -> LookupError:
    return LookupError(
        f"Checkpoints need a store, and this run has none. Received a request for {request}. "
        "Install lt-checkpoint, pass Trainer(store=...), or a state from trainer.capture()."
    )


def _state_of(owner: Any) -> Any:
    return owner.state_dict() if hasattr(owner, "state_dict") else None
