"""Saving for a callback: now or beside the training, and deleting what a checkpoint replaces."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from lt_checkpoint.background import Background, Piece
from lt_checkpoint.draft import draft
from lt_checkpoint.errors import CheckpointNotFoundError, SaveError
from lt_checkpoint.folder import Note, describe
from lt_checkpoint.folder_store import FolderStore
from lt_checkpoint.patience import patient, watched
from lt_checkpoint.snapshot import Snapshots
from lt_checkpoint.together import Ranks, apiece, beside, on_first, together

log = logging.getLogger("lt_checkpoint")


@final
class Saver:
    """Saves states one after another; what one replaces is deleted once it was read back whole.

    Reading back and deleting are done beside the training, on rank 0. Saving is too, where that is
    asked for, on every rank. At most one checkpoint is on its way.

    Args:
        store: where to.
        world: the processes that save together.
        asynchronous: whether saving only copies the state, and the rest is done beside the
            training. With several ranks, it takes a world whose ``beside()`` returns the ranks as
            another thread can talk to them; else saving waits.
        timeout: seconds that a save may take; None for any time.
    """

    def __init__(
        self, store: FolderStore, world: Ranks, *, asynchronous: bool, timeout: float | None = None
    ) -> None:
        self._store, self._world = store, world
        self._beside = beside(world) if asynchronous else None
        self._snapshots = Snapshots()
        self._timeout = timeout
        self._background = Background(timeout)
        self._left: list[str] = []

    def save(
        self, state: Mapping[str, Any], path: str, note: Note, *, obsolete: Sequence[str]
    ) -> None:
        """Save a state. With ``asynchronous``, it may change when this returns.

        Args:
            state: the state.
            path: where.
            note: what the manifest says beside.
            obsolete: the paths to delete then.

        Raises:
            UnsavableStateError: it holds something that is no data.
            SaveError: it was not saved.
        """
        world, ranks = self._world, self._beside
        if ranks is None:
            with watched(self._timeout, f"saving {path}"), patient(world):
                self._store.save(state, path, note=note, world=world)
            self.prune(path, obsolete)
            return
        follow_up = self._follow_up(path, obsolete)
        folder, name = self._store.folder(path)
        on_first(world, folder.enter)
        self._background.wait()  # what is on its way is in the memory that is about to be used
        if self._background.left_behind:
            self._snapshots, self._background.left_behind = Snapshots(), False
        copy = apiece(
            world,
            lambda: self._snapshots.take(
                draft(state, rank=world.rank, world_size=world.world_size)
            ),
        )
        manifest = describe(state, note, world)

        def work(piece: Piece) -> None:
            folder.write(copy, name, manifest, world=ranks, given_up=lambda: piece.given_up)
            if follow_up is not None and ranks.rank == 0:
                follow_up(piece)

        self._background.start(work)

    def prune(self, path: str, obsolete: Sequence[str]) -> None:
        """Delete what a checkpoint replaced, once that was read back: as a save does after it."""
        follow_up = self._follow_up(path, obsolete)
        if follow_up is not None and self._world.rank == 0:
            self._background.start(follow_up)

    def _follow_up(self, path: str, obsolete: Sequence[str]) -> Callable[[Piece], None] | None:
        """Return what reads a checkpoint back and deletes what it replaces; None for nothing."""
        doomed = [*self._left, *obsolete]

        def work(piece: Piece) -> None:
            self._store.verify(path)
            if not piece.given_up:
                self._left = [old for old in doomed if not self._removed(old)]

        return work if doomed else None

    def _removed(self, path: str) -> bool:
        """Delete a checkpoint; return whether it is gone. If not, the next save tries again."""
        try:
            self._store.remove(path)
        except CheckpointNotFoundError:  # somebody else deleted it
            return True
        except OSError as error:
            log.warning("%s could not be deleted: %s", path, error)
            return False
        return True

    @property
    def failed(self) -> bool:
        """Whether something failed beside the training; does not wait."""
        return self._background.failed

    def settle(self) -> None:
        """Wait for what is on its way. Every rank calls it.

        Raises:
            SaveError: it failed.
        """
        with patient(self._world):
            outcomes = together(self._world, self._outcome)
        if any(left_behind for _, left_behind in outcomes):
            self._start_anew()
        for said, _ in outcomes:
            if said is not None:
                raise SaveError(said)

    def _outcome(self) -> tuple[str | None, bool]:
        failure = self._background.take_failure()
        return None if failure is None else str(failure), self._background.left_behind

    def _start_anew(self) -> None:
        """Leave memory and channel to the work that was given up."""
        self._snapshots, self._background = Snapshots(), Background(self._timeout)
        if self._beside is not None:
            self._beside = beside(self._world)

    def claim(self) -> None:
        """Become the run that writes into the folder. Every rank calls it.

        Raises:
            FolderInUseError: another one does.
            SaveError: the folder can't be written.
        """
        on_first(self._world, self._store.claim)
        log.info("saving into %s; a save may take %s seconds", self._store.root, self._timeout)

    def on_first(self, work: Callable[[], Any]) -> Any:
        """Let rank 0 decide something; return it on every rank."""
        return on_first(self._world, work)

    def close(self, *, wait: bool = True) -> Exception | None:
        """Wait for what is on its way, without the other ranks; let other runs have the folder.

        Args:
            wait: whether to. What may hang still uses its channel then, which stays open.
        """
        with patient(self._world):
            failure = self._background.take_failure() if wait else self._background.abandon()
        if self._beside is not None and wait:
            self._beside.close()
        if self._world.rank == 0:
            self._store.close()
        return failure
