"""Sources: which loader serves which stage, opened through the feed, limited and closed again."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal

from lt_loop.ahead import Ahead
from lt_loop.hooks import overridden
from lt_loop.limits import Limits, batches_within
from lt_loop.ports import Feed, Phase, Stream, World
from lt_loop.several import described, one_by_one

LoaderStage = Literal["train", "validate", "test", "predict"]

WORDS: dict[LoaderStage, str] = {
    "train": "train",
    "validate": "val",
    "test": "test",
    "predict": "predict",
}
"""How a stage is called in ``<word>_dataloader`` and ``limit_<word>_batches``."""


@dataclass(frozen=True, slots=True)
class Source:
    """One opened loader of one stage.

    Attributes:
        stream: the loader, opened by the feed.
        stage: what it serves.
        batches: batches in an epoch, limits applied; None where that is not known.
        loader: what was opened.
    """

    stream: Stream
    stage: LoaderStage
    batches: int | None
    loader: Any

    @property
    def kind(self) -> str:
        """What to call the loader in messages."""
        return described(self.loader)

    @property
    def length(self) -> int | None:
        """Batches in an epoch, where it is sure that none is missing: the loader has a length."""
        return None if self.stream.length is None else self.batches

    def epoch(self, index: int, *, start: int = 0) -> Iterator[Any]:
        """Yield the batches of an epoch after its first ``start``, which are done already.

        There may be more of these than batches now, as the limit of a resumed run may be lower.
        """
        batches = self.stream.epoch(index)
        return batches if self.batches is None else islice(batches, max(self.batches - start, 0))


class Sources:
    """The loaders of one run, by stage; each is opened when it is first wanted."""

    def __init__(self, program: Any, datamodule: Any, given: Mapping[LoaderStage, Any]) -> None:
        """Remember where loaders may come from: the call, the datamodule, the program.

        Raises:
            ValueError: loaders were given both ways.
        """
        given = {stage: loader for stage, loader in given.items() if loader is not None}
        if given and datamodule is not None:
            stage = next(iter(given))
            raise ValueError(
                "Loaders come from the call or from a datamodule. Received both "
                f"{WORDS[stage]}_dataloaders and a datamodule. Drop one of them."
            )
        self.datamodule = datamodule
        self._owners = [program] if datamodule is None else [datamodule, program]
        self._given = given
        self._opened: dict[LoaderStage, list[Source]] = {}
        self._closed: dict[LoaderStage, list[Source]] = {}  # at the end of the run
        self._asked: dict[LoaderStage, int | None] = {}  # in which epoch they were asked for
        self._position: dict[str, Any] = {"train": []}
        self.ahead: Ahead | None = None  # who reads the training loader ahead of the program

    def has(self, stage: LoaderStage) -> bool:
        """Return whether there is a loader for a stage, without asking for it."""
        return stage in self._given or self._owner(stage) is not None

    def given(self, stage: LoaderStage) -> bool:
        """Return whether the call itself brought loaders for a stage."""
        return stage in self._given

    def _owner(self, stage: LoaderStage) -> Any:
        name = f"{WORDS[stage]}_dataloader"
        return next((owner for owner in self._owners if overridden(owner, name)), None)

    def open(
        self, stage: LoaderStage, *, feed: Feed, world: World, limits: Limits, epoch: int = 0
    ) -> list[Source]:
        """Return the opened loaders of a stage.

        Args:
            stage: whose loaders.
            feed: opens them.
            world: the processes that share them.
            limits: how many batches are read of them.
            epoch: the one under way, in which the loaders are asked for if they are.

        Raises:
            TypeError: something given as a loader is none.
            ValueError: there is no loader, or one without batches.
        """
        if stage not in self._opened:
            name, limit = _limit(stage, limits)
            loaders = self.loaders(stage) if limit else []
            if limits.overfit_batches and stage in ("train", "validate"):
                loaders = [_in_order(loader, stage, feed) for loader in loaders]
            self._asked[stage] = epoch if _in_turn(stage, limits, epoch) else None
            self._opened[stage] = [
                _open(loader, stage, feed=feed, world=world, limit=(name, limit))
                for loader in loaders
            ]
        return self._opened[stage]

    def expire(self, stage: LoaderStage, *, epoch: int, every: int) -> None:
        """Close the loaders of a stage where it is time to ask for new ones.

        Args:
            stage: whose loaders. Those that came with the call are kept: there is nobody to ask.
            epoch: the one under way.
            every: after how many epochs loaders are asked for anew, 0 for never.
        """
        if not every or stage in self._given or stage not in self._opened:
            return
        asked = self._asked[stage]
        if asked is None or epoch - asked >= every:
            if stage == "train":
                self._position = self.state_dict()
                self.ahead = None
            _close(self._opened.pop(stage))

    def opened(self, stage: LoaderStage) -> list[Source]:
        """Return the loaders of a stage as far as they were wanted, after the run too."""
        return self._opened.get(stage, self._closed.get(stage, []))

    def loaders(self, stage: LoaderStage) -> list[Any]:
        """Return the loaders of a stage: those of the call, or what their owner makes now.

        Those of training are read as one, whatever there is; of the other stages, one by one.
        """
        name = f"{WORDS[stage]}_dataloader"
        if stage in self._given:
            returned = self._given[stage]
        else:
            owner = self._owner(stage)
            if owner is None:
                raise ValueError(
                    f"This run needs a {stage} loader. Received none. Pass one, or write {name}() "
                    "on the module or the datamodule."
                )
            returned = getattr(owner, name)()
            if returned is None:
                raise ValueError(
                    f"{name} must return a loader. Received None from {type(owner).__name__}."
                    f"{name}. Return one, or remove the method."
                )
        return [returned] if stage == "train" else one_by_one(returned)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training data; once closed, the position then."""
        if "train" not in self._opened:
            return self._position
        if self.ahead is not None:
            return {"train": [self.ahead.position()]}
        return {"train": [source.stream.state_dict() for source in self._opened["train"]]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position. The training loader must be open."""
        self.ahead = None
        for source, saved in zip(self._opened["train"], state["train"], strict=True):
            source.stream.load_state_dict(saved)

    def datamodule_state(self) -> dict[str, Any]:
        """Return what the datamodule wants to survive; empty where there is nothing."""
        own = overridden(self.datamodule, "state_dict")
        return dict(own()) if own else {}

    def load_datamodule_state(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`datamodule_state` returned."""
        if state and (own := overridden(self.datamodule, "load_state_dict")):
            own(state)

    def close(self) -> None:
        """Let go of everything that was opened, of each also where another one's close fails."""
        self._position = self.state_dict()
        opened = self._closed = self._opened
        self._opened = {}
        _close(chain.from_iterable(opened.values()))


def _limit(stage: LoaderStage, limits: Limits) -> tuple[str, int | float]:
    """Return the limit of a stage, and the argument that set it."""
    name = f"limit_{WORDS[stage]}_batches"
    limit: int | float = getattr(limits, name)
    overfits = limits.overfit_batches and limit and stage in ("train", "validate")
    return ("overfit_batches" if overfits else name), limit


def _in_turn(stage: LoaderStage, limits: Limits, epoch: int) -> bool:
    """Return whether loaders asked for in an epoch are the ones for it.

    Validation loaders of an epoch without validation only serve to try the code out.
    """
    return stage != "validate" or limits.validates_in(epoch)


def _in_order(loader: Any, stage: LoaderStage, feed: Feed) -> Any:
    """Return a loader without its shuffling, where the feed knows how."""
    put_in_order = getattr(feed, "in_order", None)
    ordered = put_in_order(loader) if put_in_order else loader
    if ordered is not loader:
        warnings.warn(
            "overfit_batches reads the same batches in every epoch. Received a "
            f"{WORDS[stage]} loader that shuffles: it is read in the order of its dataset "
            "instead. Pass it with shuffle=False.",
            stacklevel=2,
        )
    return ordered


def _open(
    loader: Any, stage: LoaderStage, *, feed: Feed, world: World, limit: tuple[str, int | float]
) -> Source:
    phase: Phase = stage
    stream = feed.open(loader, phase=phase, world=world)
    name, most = limit
    batches = batches_within(most, stream.length, name=name)
    longest = 1 if stream.length is None else stream.length
    if world.world_size > 1 and stage != "train":  # a rank may be left without a sample, not all
        longest = int(world.reduce([longest], "max")[0])
    if longest == 0:
        raise ValueError(
            f"A {stage} loader must yield batches. Received an empty {described(loader)}: its "
            "length is 0. Look at the size of its dataset, and at drop_last."
        )
    return Source(stream, stage, batches, loader)


def _close(sources: Iterable[Source]) -> None:
    """Close streams, each also where another one's close fails."""
    with ExitStack() as closing:
        for source in sources:
            closing.callback(source.stream.close)
