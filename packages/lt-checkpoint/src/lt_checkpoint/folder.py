"""A folder of checkpoints: what is in it, in which order, and adding to it."""

import datetime
import functools
import importlib.metadata
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch

from lt_checkpoint import committing, draft, reading, remote_claim
from lt_checkpoint import manifest as manifests
from lt_checkpoint.disk import Disk
from lt_checkpoint.draft import Draft
from lt_checkpoint.errors import DamagedCheckpointError, SaveError
from lt_checkpoint.lock import FolderLock
from lt_checkpoint.manifest import Manifest
from lt_checkpoint.places import EXTENSION, kept_copy, read_hidden
from lt_checkpoint.together import Ranks, apiece, on_first, together


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a manifest says that the state does not.

    Attributes:
        metrics: what was logged, by name.
        monitor: the name of the one that decides which checkpoint is the best.
        mode: whether the least or the greatest is the best.
        names: other names of the checkpoint, such as ``last``.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    names: tuple[str, ...] = ()


@final
class Folder:
    """The checkpoints of one folder."""

    def __init__(self, disk: Disk, path: str, *, take_over: bool = False) -> None:
        self.disk, self.path = disk, path
        self._lock = FolderLock(path, take_over=take_over) if disk.renames else None
        self._take_over = take_over
        self._claimed = self._swept = False
        self._serial: int | None = None

    def claim(self) -> None:
        """Become the one run that writes into the folder; clear away what dead ones left.

        Raises:
            FolderInUseError: another one does.
            SaveError: the folder can't be written.
        """
        try:
            self.disk.make_folder(self.path)
            if self._lock is not None:
                self._lock.acquire()
            elif not self._claimed:
                remote_claim.enter(self.disk, self.path, take_over=self._take_over)
            if not self._claimed:
                committing.sweep(self.disk, self.path, locked=True)
                self._claimed = self._swept = True
        except OSError as error:
            raise committing.failed(self.path, error) from error

    def enter(self) -> None:
        """Look whether this process may write, whether it claimed the folder or not.

        Raises:
            FolderInUseError: another run claimed it.
            SaveError: the folder can't be written.
        """
        if self._claimed:
            self.claim()  # others may have taken it for dead
            return
        if self._lock is not None:
            self._lock.check()
        if not self._swept:
            try:
                committing.sweep(self.disk, self.path, locked=False)
            except OSError as error:
                raise committing.failed(self.path, error) from error
            self._swept = True

    def release(self) -> None:
        """Let other runs write into the folder, if this process had claimed it."""
        if self._claimed and self._lock is not None:
            self._lock.release()
        self._claimed = self._swept = False

    def place(self, name: str) -> str:
        """Return the path of a checkpoint."""
        return self.disk.join(self.path, name)

    def names(self) -> list[str]:
        """Return the names of what looks like checkpoints, whole or not."""
        found: dict[str, None] = {}
        for name in self.disk.names(self.path):
            hidden = read_hidden(name)
            if hidden is not None and hidden.kind == "kept":
                found[hidden.name] = None
            elif name.endswith(EXTENSION) and not name.startswith("."):
                found[name] = None
        return list(found)

    def manifests(self) -> tuple[list[tuple[str, Manifest]], dict[str, str]]:
        """Return the checkpoints whose files have their sizes, oldest first, and the damaged ones.

        The second part says what is wrong with each of those.
        """
        whole: list[tuple[str, Manifest]] = []
        damaged: dict[str, str] = {}
        for name in self.names():
            try:
                whole.append((name, reading.read_manifest(self.disk, self.found(name))))
            except DamagedCheckpointError as error:
                if self.has(name):  # else it was deleted while it was read
                    damaged[name] = str(error)
        whole.sort(key=lambda one: (one[1].order, one[0]))
        return whole, damaged

    def has(self, name: str) -> bool:
        """Return whether there is anything of that name, whole or not."""
        return self.disk.exists(self.found(name))

    def found(self, name: str) -> str:
        """Return where a checkpoint is read: also where it is being replaced at this moment."""
        place = self.place(name)
        if self.disk.renames and not self.disk.exists(place):
            return kept_copy(self.disk, self.path, name) or place
        return place

    def newest_first(self, *, full: bool) -> tuple[list[tuple[str, Manifest]], dict[str, str]]:
        """Return what :meth:`manifests` does, newest first.

        Args:
            full: put those that a run can go on from before those that hold weights only.
        """
        whole, damaged = self.manifests()
        newest = whole[::-1]
        if full:
            newest.sort(key=lambda one: one[1].kind != "full")
        return newest, damaged

    def next_serial(self) -> int:
        """Return the number of the next checkpoint."""
        if self._serial is None:
            whole, _ = self.manifests()
            self._serial = max((manifest.serial for _, manifest in whole), default=-1)
        self._serial += 1
        return self._serial

    def save(
        self, state: Mapping[str, Any], name: str, *, note: Note, world: Ranks
    ) -> Manifest | None:
        """Save a state with all ranks; return its manifest, on rank 0.

        Raises:
            UnsavableStateError: it holds something that is no data.
            SaveError: it could not be written; nothing has changed.
        """
        mine = apiece(
            world, lambda: draft.draft(state, rank=world.rank, world_size=world.world_size)
        )
        return self.write(mine, name, describe(state, note, world), world=world)

    def write(
        self,
        mine: Draft,
        name: str,
        manifest: Manifest,
        *,
        world: Ranks,
        given_up: Callable[[], bool] = lambda: False,
    ) -> Manifest | None:
        """Write drafts with all ranks; return the manifest, on rank 0.

        Args:
            mine: what this rank writes.
            name: the name of the checkpoint.
            manifest: what it says of itself, but for its files.
            world: the ranks.
            given_up: whether nobody waits for it any more, so that it must not appear.

        Raises:
            SaveError: it could not be written; nothing has changed.
        """
        disk, path, locked = self.disk, self.path, self._claimed
        total = sum(together(world, lambda: mine.size))
        stage = on_first(
            world, lambda: committing.prepare(disk, path, name, size=total, locked=locked)
        )
        try:
            records = together(world, lambda: (committing.write(disk, stage, mine), given_up()))
            files = {file: record for part, _ in records for file, record in part.items()}
            late = any(told for _, told in records)

            def finish() -> Manifest:
                if late or given_up():
                    raise SaveError(f"{self.place(name)} was given up before it was written.")
                words = {one: getattr(manifest, one) for one in manifests.Manifest.__slots__}
                words |= {"files": files, "serial": self.next_serial()}
                whole = Manifest(**words)
                committing.commit(disk, path, name, stage=stage, manifest=whole)
                return whole

            return on_first(world, finish)
        except BaseException as error:
            if world.rank == 0:
                committing.abandon(disk, path, name, stage=stage)
            if isinstance(error, OSError):
                raise committing.failed(self.place(name), error) from error
            raise

    def read(self, name: str, *, rank: int, weights_only: bool) -> dict[str, Any]:
        """Return the state in a checkpoint, as one rank needs it.

        Raises:
            DamagedCheckpointError: it is not whole.
        """
        path = self.found(name)
        state, _ = reading.read(self.disk, path, rank=rank, weights_only=weights_only)
        return state

    def remove(self, name: str) -> None:
        """Delete a checkpoint.

        Raises:
            OSError: it could not be deleted.
        """
        committing.discard(self.disk, self.path, self.found(name), name)


def passed_over(reasons: Iterable[str]) -> None:
    """Warn of damaged checkpoints in whose place another one is used."""
    warnings.warn(" ".join([*reasons, "Another one is used instead."]), stacklevel=3)


@functools.cache
def versions() -> Mapping[str, str]:
    """Return what writes here, and its versions."""
    return {
        "lt-checkpoint": importlib.metadata.version("lt-checkpoint"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def describe(state: Mapping[str, Any], note: Note, world: Ranks) -> Manifest:
    """Return the manifest of a state, but for what is known when its files are written."""
    step, epoch = state.get("global_step"), state.get("epoch")
    encoder = draft.plain_encoder()
    return Manifest(
        kind="weights" if "state_dict" in state and "optimizer_states" not in state else "full",
        epoch=epoch if type(epoch) is int else None,
        step=step if type(step) is int else None,
        world_size=world.world_size,
        metrics={str(key): float(value) for key, value in note.metrics.items()},
        monitor=note.monitor,
        mode=note.mode,
        names=note.names,
        fingerprint=encoder.encode(state.get("fingerprint"), ("fingerprint",)),
        exactness=encoder.encode(state.get("exactness"), ("exactness",)),
        versions=dict(versions()),
        saved_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
