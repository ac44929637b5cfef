"""The combined stream: several loaders read as one, with the position of each counted."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, final

from lt_data.ahead import Ahead
from lt_data.combined_loader import CombinedLoader
from lt_data.modes import length, together, used_up
from lt_data.opening import World
from lt_data.orders import generators_of
from lt_data.settings import Settings
from lt_data.stream import LoaderStream


@final
class CombinedStream:
    """A :class:`CombinedLoader`, read epoch after epoch, that knows how far each part was read.

    It yields the batches themselves, in the form of the collection. Nothing is read, and no worker
    process started, before the first batch is asked for; then all loaders start, in their order.

    Attributes:
        once: True where one of the loaders can be read a single time.
    """

    def __init__(
        self,
        loader: CombinedLoader,
        *,
        phase: str,
        world: World | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Open the loaders.

        Args:
            loader: combines them, side by side.
            phase: what the batches are for, as for a :class:`LoaderStream`.
            world: the processes that share the data of each loader; one alone by default.
            settings: how the loaders are read.

        Raises:
            ValueError: it reads one loader after another, has limits of its own, or a loader
                without batches.
        """
        _check(loader, phase)
        self._mode, self._build, self._places = loader.mode, loader.build, loader.places
        self._parts = [
            LoaderStream(part, phase=phase, place=place, world=world, settings=settings)
            for part, place in zip(loader.flattened, loader.places, strict=True)
        ]
        _tell_apart(self._parts, loader.flattened)
        self._check_lengths(phase)
        self.once = any(part.once for part in self._parts)
        self._epoch = 0
        self._batch = 0
        self._cycling: set[int] = set()  # the parts that were read to their end in this epoch
        self._restored: Mapping[str, Any] | None = None
        self._ahead: Ahead | None = None  # of loaders without a length
        self._kept: dict[str, Any] | None = None  # the position, where one batch is read ahead
        self._reading: Generator[Any, None, None] | None = None

    def _check_lengths(self, phase: str) -> None:
        for part, place in zip(self._parts, self._places, strict=True):
            if part.length == 0:
                raise ValueError(
                    f"A {phase} loader must yield batches. Received an empty one at {place}: its "
                    "length is 0. Look at the size of its dataset, and at drop_last."
                )

    @property
    def length(self) -> int | None:
        """Batches in one epoch, or None where that depends on a loader that can't say."""
        return length(self._mode, [part.length for part in self._parts])

    def epoch(self, index: int) -> Iterator[Any]:
        """Return the batches of epoch ``index``, from its start or from the restored position.

        Each loader is told of the epoch, and goes on from its own place. One that begins anew
        within the epoch is told of the same epoch again.

        Raises:
            ValueError: a loader can be read once, and was, or the restored position is that of
                other loaders.
        """
        self._end_epoch()
        self._epoch, self._batch, self._cycling = index, 0, set()
        self._ahead = self._kept = None
        restored, self._restored = self._restored, None
        if restored is not None:
            within = restored["epoch"] == index and restored["batch"] > 0
            self._go_on_from(restored, within=within)
        iterators = [part.epoch(index) for part in self._parts]
        self._reading = self._batches(iterators)
        return self._reading

    def _go_on_from(self, state: Mapping[str, Any], *, within: bool) -> None:
        parts = state.get("parts", ())
        if len(parts) != len(self._parts):
            if not within:
                return
            raise ValueError(
                "A position within an epoch is gone on from with the loaders it was taken of. "
                f"Received the position of {len(parts) or 'a single one'} for the "
                f"{len(self._parts)} loaders at {', '.join(self._places)}. Pass the same "
                "loaders, or go on from the end of an epoch."
            )
        for part, saved in zip(self._parts, parts, strict=True):
            part.load_state_dict(saved)
        if within:
            self._cycling = set(state["cycling"])
            left = self._remaining()
            whole = self.length
            self._batch = int(state["batch"]) if left is None or whole is None else whole - left

    def _remaining(self) -> int | None:
        """Return how many batches are left; None where that is not known."""
        left = [
            0 if number in self._cycling else part.remaining
            for number, part in enumerate(self._parts)
        ]
        return length(self._mode, left)

    def _batches(self, iterators: list[Iterator[Any]]) -> Generator[Any, None, None]:
        for part in self._parts:  # all of them, so that their workers fetch at the same time
            part.start()
        items = together(
            self._mode,
            iterators,
            again=self._again,
            cycling=self._cycling,
            places=self._places,
        )
        if self.length is None:
            items = self._ahead = Ahead(items)
        build = self._build
        for values in items:
            self._batch += 1
            self._kept = None
            yield build(values)

    def _again(self, number: int) -> Iterator[Any]:
        part = self._parts[number]
        if part.once:
            raise used_up(self._places[number])
        return part.again()

    @property
    def is_last(self) -> bool:
        """Whether the batch handed out last is the last one of its epoch.

        Where the length is not known, one batch is read ahead when this is asked.
        """
        if self._ahead is None:
            return self._batch > 0 and self._batch == self.length
        if self._kept is None:
            self._kept = self._position()
        return self._ahead.ended()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What shapes the order of the data, as plain data: the mode, and that of each loader."""
        parts = {
            place or "loader": part.fingerprint
            for place, part in zip(self._places, self._parts, strict=True)
        }
        return {"mode": self._mode, "loaders": parts}

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the epoch, the batches handed out of it, and that of each loader."""
        if self._restored is not None:
            return dict(self._restored)
        return self._position() if self._kept is None else dict(self._kept)

    def _position(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "batch": self._batch,
            "parts": [part.state_dict() for part in self._parts],
            "cycling": sorted(self._cycling),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position in the next call of :meth:`epoch` for the same epoch."""
        self._restored = state

    def close(self) -> None:
        """End the worker processes of all loaders, of each also where another one's end fails."""
        self._end_epoch()
        with ExitStack() as closing:
            for part in self._parts:
                closing.callback(part.close)

    def _end_epoch(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()


def _tell_apart(streams: Sequence[LoaderStream], loaders: Sequence[Any]) -> None:
    """See that loaders which share a seed don't share their order too.

    Two that were given generators of their own, with the same seed, do: somebody wanted that.
    """
    seen: list[list[int]] = []
    for stream, loader in zip(streams, loaders, strict=True):
        sources = [id(generator) for generator in generators_of(loader)]
        stream.salt(seen.count(sources))
        seen.append(sources)


def _check(loader: CombinedLoader, phase: str) -> None:
    if loader.mode == "sequential":
        raise ValueError(
            "Loaders that are read as one are read side by side. Received a CombinedLoader of mode "
            f"'sequential' as {phase} loader. Use min_size, max_size or max_size_cycle, or one "
            "loader over torch's ConcatDataset."
        )
    if loader.limits is not None:
        raise ValueError(
            "In a run the trainer limits the batches of an epoch. Received a CombinedLoader with "
            f"limits={loader.limits} as {phase} loader. Use limit_train_batches and the like."
        )
