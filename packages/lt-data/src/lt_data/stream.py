"""The stream: one loader, read epoch after epoch, with the position counted."""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, final

from lt_data.ahead import Ahead
from lt_data.opening import Alone, World, reader_of, seed_of
from lt_data.seeding import word_of
from lt_data.settings import Settings
from lt_data.workers import is_loader_iterator


@final
class LoaderStream:
    """A DataLoader, or any other iterable of batches, that knows how far it was read.

    The order of a DataLoader's samples, and the random numbers that each of them draws, depend on
    the seed, the epoch and the sample's place in it, and on nothing else. Nothing is read, and no
    worker process started, before the first batch is asked for.

    Attributes:
        once: True where the loader can be read a single time, as a generator can.
    """

    def __init__(
        self,
        loader: Any,
        *,
        phase: str,
        place: str = "",
        world: World | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Open a loader that :func:`lt_data.admission.check_loader` has let pass.

        Args:
            loader: yields batches.
            phase: what the batches are for: of ``"train"`` all processes get the same number, of
                any other each sample is read by one process. It names the loader in messages too.
            place: where it stands among others, for messages.
            world: the processes that share the data; one alone by default.
            settings: how it is read.

        Raises:
            ValueError: it can't be read under these settings.
        """
        world, settings = world or Alone(), settings or Settings()
        self.once = _reads_once(loader)
        self._loader = loader
        self._phase = f"{phase}{place}"
        self._reader = reader_of(loader, phase=phase, place=place, world=world, settings=settings)
        self._seed, self._seed_is_chosen = seed_of(loader, world=world, settings=settings)
        self._ordering = settings.order
        self._set_epoch = _epoch_setters(loader)
        self._epoch = self._lap = 0
        self._from = self._start = self._batch = 0  # units and batches at the start; batches now
        self._restored: Mapping[str, Any] | None = None
        self._read = False
        self._own: Any = None  # what a loader that keeps its own state kept, when it was noted
        self._own_ended = False  # whether the loader had come to its end then
        self._live = False  # whether its state now is that after the batch handed out last
        self._ahead: Ahead | None = None  # of a loader without a length
        self._salt = 0
        self._reading: Generator[Any, None, None] | None = None
        self._batches: Iterator[Any] | None = None

    def salt(self, number: int) -> None:
        """Tell the stream apart from others of the same seed, before it is read."""
        self._salt = number

    @property
    def length(self) -> int | None:
        """Batches of this process in one epoch, or None where the loader can't say."""
        return self._reader.length

    @property
    def remaining(self) -> int | None:
        """Batches that are left of the epoch, or None where the loader can't say."""
        units = self._reader.units
        if units is None:
            return None
        return self._reader.deal.batches(units - self._from) - (self._batch - self._start)

    @property
    def is_last(self) -> bool:
        """Whether the batch handed out last is the last one of its epoch.

        A loader without a length is read one batch ahead when this is asked.
        """
        if self._batch == self._start:
            return False
        if (left := self.remaining) is not None or self._ahead is None:
            return left == 0
        if self._live:  # as long as nothing is read ahead
            self._note(ended=False)
            self._live = False
            if self._ahead.ended():
                self._note(ended=True)
        return self._ahead.ended()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What shapes the order of the data, as plain data, to be compared when a run goes on.

        The seed is in it where the user chose one. Another one is part of the position.
        """
        seed = self._seed if self._seed_is_chosen else None
        return {**self._reader.fingerprint(), "order": self._ordering, "seed": seed}

    def epoch(self, index: int) -> Iterator[Any]:
        """Return the batches of epoch ``index``, from its start or from the restored position.

        ``set_epoch(index)`` is called on the loader, its samplers and its dataset, where they have
        it. An epoch that is still open is closed first.

        Raises:
            ValueError: the loader can be read once, and was, or the restored position within the
                epoch counts something else than this loader has.
        """
        restored, self._restored = self._restored, None
        self._let_go()
        goes_on = restored is not None and index == restored["epoch"]
        if restored is not None:
            self._check_kind(restored, within=goes_on and self._from > 0)
            self._reader.restore(self._own, ended=self._own_ended)
        return self._begin(
            index, lap=self._lap if goes_on else 0, position=self._from if goes_on else 0
        )

    def again(self) -> Iterator[Any]:
        """Return the batches of the epoch under way anew, shuffled and drawn otherwise."""
        self._let_go()
        return self._begin(self._epoch, lap=self._lap + 1, position=0)

    def _begin(self, index: int, *, lap: int, position: int) -> Iterator[Any]:
        if self.once and self._read:
            raise ValueError(
                f"A {self._phase} loader that is read in several epochs must start anew each time. "
                f"Received a {type(self._loader).__name__}, which can be read once. Pass a "
                "DataLoader, a list, or an object whose __iter__ returns a new iterator."
            )
        self._read = True
        self._epoch, self._lap = index, lap
        self._stand_at(position)
        for set_epoch in self._set_epoch:
            set_epoch(index)
        self._reading = self._handed_out()
        return self._reading

    def _stand_at(self, position: int) -> None:
        """Stand where that many units of the global order were handed out.

        Batches are counted so that those before and those that are left make up the length.
        """
        reader = self._reader
        self._from = position
        if (units := reader.units) is None:
            self._start = -(-position // reader.deal.round)
        else:
            self._start = reader.deal.batches(units) - reader.deal.batches(units - position)
        self._batch, self._live, self._ahead = self._start, False, None

    def start(self) -> None:
        """Begin to read the epoch now, so that its workers do too; else the first batch does."""
        if self._reading is not None and self._batches is None:
            word = word_of(self._seed, self._salt, self._epoch, self._lap)
            self._batches = self._reader.begin(word, self._from)

    def _handed_out(self) -> Generator[Any, None, None]:
        self.start()
        batches = self._batches
        assert batches is not None
        if self.length is None:
            batches = self._ahead = Ahead(batches)
        for batch in batches:
            self._batch += 1
            self._live = True
            yield batch
        self._live = False
        if self._batch > self._start:
            self._note(ended=True)

    def _note(self, *, ended: bool) -> None:
        """Keep the state that the loader keeps by itself, as it is now."""
        self._own, self._own_ended = self._reader.capture(), ended

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the epoch, and the batches that were handed out of it.

        Batches that workers have ready, or that were read ahead, are not counted. ``batch`` counts
        those of this process, ``position`` samples (or, as ``unit`` says, batches) of the order
        that all processes share. A loader that keeps its own state has it under ``loader``.
        """
        state: dict[str, Any] = {
            "epoch": self._epoch,
            "batch": self._batch,
            "position": self._position(),
            "unit": self._reader.unit,
            "seed": self._seed,
            "lap": self._lap,
        }
        if self._live:
            self._note(ended=self._is_at_the_end())
        if self._own is not None:
            state |= {"loader": self._own, "loader_ended": self._own_ended}
        return state

    def _is_at_the_end(self) -> bool:
        """Return whether the loader has come to its end, as far as that is known unread.

        Nothing is read ahead for it: a state may be asked for after each batch, and while the
        source has nothing to give.
        """
        return self._position() == self._reader.units or self._reader.exhausted()

    def _position(self) -> int:
        units, deal = self._reader.units, self._reader.deal
        position = self._from + (self._batch - self._start) * deal.round
        return position if units is None else min(position, units)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position in the next call of :meth:`epoch` for the same epoch.

        It may be that of more or fewer processes, or of another batch size: no sample comes twice
        and none is left out, and ``batch`` is then counted in the new batches. The seed is that of
        the position.
        """
        self._let_go()
        self._epoch, self._lap = int(state["epoch"]), int(state.get("lap", 0))
        self._seed = int(state.get("seed", self._seed))
        round_ = self._reader.deal.round
        self._stand_at(int(state.get("position", int(state["batch"]) * round_)))
        self._own, self._own_ended = state.get("loader"), bool(state.get("loader_ended", False))
        self._restored = state

    def _check_kind(self, state: Mapping[str, Any], *, within: bool) -> None:
        unit = self._reader.unit
        if within and state.get("unit", unit) != unit:
            raise ValueError(
                "A position within an epoch is gone on from with a loader of the same kind. "
                f"Received one that counts {state['unit']}, for a {self._phase} loader of which "
                f"{unit} are counted. Pass the loader it was taken of, or go on from the end of "
                "an epoch."
            )

    def close(self) -> None:
        """End the worker processes, those of persistent workers too, and wait for their end.

        The loader itself can be used again, and closing twice is harmless.
        """
        self._let_go()
        self._reader.close()

    def _let_go(self) -> None:
        """Let go of an epoch that was not read to its end; persistent workers stay."""
        if self._live:
            self._note(ended=self._is_at_the_end())
        self._live = False
        reading, self._reading, self._batches = self._reading, None, None
        if reading is not None:
            reading.close()
        self._reader.end()


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
