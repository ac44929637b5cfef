"""Sources: which loader serves which stage, opened through the feed, limited and closed again."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal

from lt_loop.hooks import overridden
from lt_loop.limits import Limits, batches_within
from lt_loop.ports import Feed, Phase, Stream, World

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
        kind: the type of the loader, for messages.
    """

    stream: Stream
    stage: LoaderStage
    batches: int | None
    kind: str

    def epoch(self, index: int, *, start: int = 0) -> Iterator[Any]:
        """Yield the batches of an epoch after its first ``start``, which are done already."""
        batches = self.stream.epoch(index)
        return batches if self.batches is None else islice(batches, self.batches - start)


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
        self._position: dict[str, Any] = {"train": []}

    def has(self, stage: LoaderStage) -> bool:
        """Return whether there is a loader for a stage, without asking for it."""
        return stage in self._given or self._owner(stage) is not None

    def given(self, stage: LoaderStage) -> bool:
        """Return whether the call itself brought loaders for a stage."""
        return stage in self._given

    def _owner(self, stage: LoaderStage) -> Any:
        name = f"{WORDS[stage]}_dataloader"
        return next((owner for owner in self._owners if overridden(owner, name)), None)

    def open(self, stage: LoaderStage, *, feed: Feed, world: World, limits: Limits) -> list[Source]:
        """Return the opened loaders of a stage.

        Raises:
            TypeError: something given as a loader is none.
            ValueError: there is no loader, or one without batches.
        """
        if stage not in self._opened:
            limit = getattr(limits, f"limit_{WORDS[stage]}_batches")
            loaders = self._loaders(stage)
            self._opened[stage] = [
                _open(loader, stage, feed=feed, world=world, limit=limit)
                for loader in (loaders if limit else ())
            ]
        return self._opened[stage]

    def opened(self, stage: LoaderStage) -> list[Source]:
        """Return the loaders of a stage as far as they were wanted already."""
        return self._opened.get(stage, [])

    def _loaders(self, stage: LoaderStage) -> list[Any]:
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
        if not _several(returned):
            return [returned]
        if stage == "train":
            raise TypeError(
                f"Training reads one loader. Received {len(returned)} of them. "
                "Combine their datasets into one loader."
            )
        return list(returned)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training data; once closed, the position then."""
        if "train" not in self._opened:
            return self._position
        return {"train": [source.stream.state_dict() for source in self._opened["train"]]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position. The training loader must be open."""
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
        opened, self._opened = self._opened, {}
        with ExitStack() as closing:
            for source in chain.from_iterable(opened.values()):
                closing.callback(source.stream.close)


def _several(loaders: Any) -> bool:
    """Return whether this is a list of loaders rather than a list of batches."""
    return (
        isinstance(loaders, list | tuple)
        and len(loaders) > 0
        and all(
            hasattr(one, "__iter__")
            and not hasattr(one, "shape")
            and not isinstance(one, list | tuple | dict | str)
            for one in loaders
        )
    )


def _open(
    loader: Any, stage: LoaderStage, *, feed: Feed, world: World, limit: int | float
) -> Source:
    phase: Phase = stage
    stream = feed.open(loader, phase=phase, world=world)
    batches = batches_within(limit, stream.length, name=f"limit_{WORDS[stage]}_batches")
    kind = type(loader).__name__
    if stream.length == 0:
        raise ValueError(
            f"A {stage} loader must yield batches. Received an empty {kind}: its length is 0. "
            "Look at the size of its dataset, and at drop_last."
        )
    return Source(stream, stage, batches, kind)
