"""The stream: one loader, read epoch after epoch, with the position counted."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import islice
from typing import Any, final

from lt_data.workers import end_persistent_workers, end_workers_of, is_loader_iterator

log = logging.getLogger("lt_data")
log.addHandler(logging.NullHandler())


@final
class LoaderStream:
    """A DataLoader, or any other iterable of batches, that knows how far it was read.

    Nothing is read, and no worker process started, before the first batch is asked for.

    Attributes:
        once: True where the loader can be read a single time, as a generator can.
    """

    def __init__(self, loader: Any, *, phase: str) -> None:
        """Open a loader that :func:`lt_data.admission.check_loader` has let pass.

        Args:
            loader: yields batches.
            phase: what the batches are for, to name the loader in messages.
        """
        self.once = _reads_once(loader)
        self._loader = loader
        self._phase = phase
        self._set_epoch = _epoch_setters(loader)
        self._epoch = 0
        self._batch = 0
        self._restored = False
        self._read = False
        self._told = False
        self._reading: Generator[Any, None, None] | None = None
        self._iterator: Iterator[Any] | None = None

    @property
    def length(self) -> int | None:
        """Batches in one epoch, or None where the loader can't say."""
        return length_of(self._loader)

    def epoch(self, index: int) -> Iterator[Any]:
        """Return the batches of epoch ``index``, from its start or from the restored position.

        ``set_epoch(index)`` is called on the loader, its samplers and its dataset, where they have
        it. An epoch that is still open is closed first. A restored position is reached by reading
        up to it, and the logger ``lt_data`` says so once.

        Raises:
            ValueError: the loader can be read once, and was.
        """
        if self.once and self._read:
            raise ValueError(
                f"A {self._phase} loader that is read in several epochs must start anew each time. "
                f"Received a {type(self._loader).__name__}, which can be read once. Pass a "
                "DataLoader, a list, or an object whose __iter__ returns a new iterator."
            )
        self._end_epoch()
        skip = self._batch if self._restored and index == self._epoch else 0
        self._restored, self._read = False, True
        self._epoch, self._batch = index, skip
        for set_epoch in self._set_epoch:
            set_epoch(index)
        self._reading = self._batches(skip)
        return self._reading

    def start(self) -> None:
        """Begin to read the epoch now, so that its workers do too; else the first batch does."""
        if self._reading is not None and self._iterator is None:
            self._iterator = iter(self._loader)

    def _batches(self, skip: int) -> Generator[Any, None, None]:
        self.start()
        batches = self._iterator
        assert batches is not None
        if skip:
            self._tell_of(skip)
            for _ in islice(batches, skip):
                pass
        for batch in batches:
            self._batch += 1
            yield batch

    def _tell_of(self, skip: int) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "Going on after batch %d of epoch %d: the %s loader is read up to there, and what "
                "it draws at random may differ from the first time.",
                *(skip, self._epoch, self._phase),
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the epoch, and the batches that were handed out of it.

        Batches that workers have ready but nobody has taken are not counted.
        """
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position in the next call of :meth:`epoch` for the same epoch."""
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])
        self._restored = True

    def close(self) -> None:
        """End the worker processes, those of persistent workers too, and wait for their end.

        The loader itself can be used again, and closing twice is harmless.
        """
        self._end_epoch()
        end_persistent_workers(self._loader)

    def _end_epoch(self) -> None:
        """Let go of an epoch that was not read to its end; persistent workers stay."""
        reading, iterator = self._reading, self._iterator
        self._reading = self._iterator = None
        if reading is not None:
            reading.close()
        if iterator is self._loader:
            return  # the user's own iterator, who may want to read on
        if isinstance(iterator, Generator):
            iterator.close()
        end_workers_of(iterator)


def length_of(loader: Any) -> int | None:
    """Return the batches of a loader, or None where it can't say."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def _reads_once(loader: Any) -> bool:
    """Return whether a loader is its own iterator, so that a second epoch would find it empty.

    Calling ``iter`` on what has ``__next__`` reads nothing. An iterator that also has a length is
    taken to start anew in each epoch, as NVIDIA DALI's do; a DataLoader's never does.
    """
    if not hasattr(loader, "__next__"):
        return False
    if is_loader_iterator(loader):
        return True
    return not hasattr(loader, "__len__") and iter(loader) is loader


def _epoch_setters(loader: Any) -> list[Callable[[int], Any]]:
    """Return the ``set_epoch`` methods of a loader and its parts, each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = [
        loader,
        getattr(loader, "sampler", None),
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
        getattr(loader, "dataset", None),
    ]
    distinct = {id(part): part for part in parts if part is not None}
    setters = [getattr(part, "set_epoch", None) for part in distinct.values()]
    return [setter for setter in setters if callable(setter)]
