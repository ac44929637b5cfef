"""FolderStore: the port Store over folders of checkpoints, here or in a remote store."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

from lt_checkpoint import lightning_file, picking, reading
from lt_checkpoint.disk import Disk
from lt_checkpoint.errors import CheckpointNotFoundError
from lt_checkpoint.folder import Folder, Note
from lt_checkpoint.manifest import Manifest
from lt_checkpoint.picking import BEST, LAST
from lt_checkpoint.places import EXTENSION, is_url, plain, split
from lt_checkpoint.remote_disk import disk_of
from lt_checkpoint.spelling import suggestion
from lt_checkpoint.together import Alone, Ranks, apiece, on_first

log = logging.getLogger("lt_checkpoint")


@final
class FolderStore:
    """Checkpoints in a folder: saved whole or not at all, and checked when they are read.

    A name is that of a checkpoint in the folder, a path, or a URL. ``"last"`` is the newest whole
    checkpoint by the step it says it is of, ``"best"`` the one with the best metric.

    Several processes may save into a folder, under different names, until one of them claims it.

    Args:
        root: the folder, or a URL (with the extra ``remote``). It is made when it is needed.
        take_over: claim the folder although the lock in it is of another machine, which
            can't be asked whether that run still lives. Where a scheduler starts a run anew on
            another machine, and never two at a time. In a remote store, which has no lock, what
            such a run left unfinished is deleted then.
        storage_options: what the file systems of URLs are made with, as for ``fsspec.open``:
            addresses, credentials. None for those that fsspec and its clients find by themselves.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = ".",
        *,
        take_over: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._take_over, self._options = take_over, storage_options
        self.root = _normal(os.fspath(root))
        self._folders: dict[str, Folder] = {}

    def save(
        self,
        state: Mapping[str, Any],
        name: str,
        *,
        metrics: Mapping[str, float] | None = None,
        world: Ranks | None = None,
        note: Note | None = None,
    ) -> None:
        """Save a state. When this returns, it survives a crash and a power cut.

        With a world of several, every rank calls it, and it succeeds on all or fails on all.

        Args:
            state: data and tensors.
            name: the name of the checkpoint, its path or URL. One of that name is replaced; in a
                remote store it is refused.
            metrics: what was logged, to be found in the manifest.
            world: the processes that save together.
            note: what else the manifest says; ``metrics`` are added.

        Raises:
            UnsavableStateError: the state holds something that is neither a tensor nor data.
            SaveError: it was not saved. What was there before is still there.
            FolderInUseError: another run has claimed the folder.
        """
        ranks = world or Alone()
        folder, base = self._place(name)
        on_first(ranks, folder.enter)
        given = note or Note()
        words = {one: getattr(given, one) for one in Note.__slots__}
        words["metrics"] = {**given.metrics, **(metrics or {})}
        folder.save(state, base, note=Note(**words), world=ranks)

    def load(
        self, name: str, *, world: Ranks | None = None, weights_only: bool = False
    ) -> dict[str, Any]:
        """Return a saved state. Its tensors are on the CPU.

        Args:
            name: ``"last"``, ``"best"``, the name of a checkpoint, its path or URL. A Lightning
                ``.ckpt`` file is read too.
            world: the processes, where each has values of its own in the state.
            weights_only: leave out what only a run that goes on needs, as optimizers.

        Raises:
            CheckpointNotFoundError: there is none of that name.
            DamagedCheckpointError: it is not whole for one of the ranks. For ``"last"``, the newest
                that is whole for all is returned instead, with a warning that names those that are
                not.
        """
        ranks = world or Alone()
        folder, base = self._place(name)
        if on_first(ranks, lambda: _is_alias(base) and not self._exists(folder, base)):
            pick = picking.last if base.removesuffix(EXTENSION) == LAST else picking.best
            return pick(folder, ranks, weights_only=weights_only)
        return apiece(ranks, lambda: self._load(folder, base, ranks.rank, weights_only))

    def list(self) -> list[str]:
        """Name the checkpoints whose files have their sizes, oldest first by their steps."""
        whole, _ = self._folder(self.root).manifests()
        return [name for name, _ in whole]

    def remove(self, name: str) -> None:
        """Delete a checkpoint.

        Raises:
            CheckpointNotFoundError: there is none of that name.
        """
        folder, base = self._place(name)
        self._check_exists(folder, base)
        folder.enter()
        folder.remove(base)

    def manifest(self, name: str) -> Manifest:
        """Return what a checkpoint says about itself, without reading all of it.

        Raises:
            CheckpointNotFoundError: there is none of that name.
            DamagedCheckpointError: it is not whole.
        """
        folder, base = self._named(name)
        return reading.read_manifest(folder.disk, folder.found(base))

    def verify(self, name: str) -> Manifest:
        """Read a checkpoint through and compare each file with its hash.

        Raises:
            CheckpointNotFoundError: there is none of that name.
            DamagedCheckpointError: it is not as it was written.
        """
        folder, base = self._named(name)
        return reading.check(folder.disk, folder.found(base))

    def newest(self, names: Sequence[str]) -> str:
        """Return the name whose checkpoint is of the latest step; a whole state before weights.

        Of those that are alike it is the first. Nothing but manifests is read.
        """
        return max(names, key=lambda name: picking.moment(*self._place(name)))

    def find(self, name: Literal["last", "best"]) -> str | None:
        """Return the path of the newest checkpoint or of the best, None where there is none.

        Nothing but its manifest has been read: loading it may show that it is damaged.
        """
        folder = self._folder(self.root)
        found = picking.found(folder, name)
        return None if found is None else folder.place(found)

    def exists(self, name: str) -> bool:
        """Return whether there is anything of that name, whole or not."""
        return self._exists(*self._place(name))

    def names(self) -> Sequence[str]:
        """Name what looks like checkpoints, whole or not, in the order of the alphabet."""
        return sorted(self._folder(self.root).names())

    def has_any(self) -> bool:
        """Return whether there is any checkpoint in the folder, whole or not."""
        return bool(self._folder(self.root).names())

    def place(self, name: str) -> str:
        """Return the path of a name in the folder."""
        return self._folder(self.root).place(name)

    def claim(self) -> None:
        """Become the one run that writes into the folder, until :meth:`close`, or its end.

        Raises:
            FolderInUseError: another one does.
            SaveError: the folder can't be written.
        """
        self._folder(self.root).claim()

    def close(self) -> None:
        """Let other runs write into the folder again."""
        for folder in self._folders.values():
            folder.release()

    def folder(self, name: str) -> tuple[Folder, str]:
        """Return the folder of a checkpoint, and its name in it."""
        return self._place(name)

    def _place(self, name: str) -> tuple[Folder, str]:
        if not isinstance(name, str | os.PathLike):
            raise TypeError(
                "A checkpoint is named by a string. Received "
                f"{name!r} of type {type(name).__name__}."
            )
        name = plain(os.fspath(name))
        if is_url(name) or os.path.isabs(name) or os.path.expanduser(name) != name:
            folder, base = split(name)
        elif os.sep in name or "/" in name:
            inside = _normal(name) if not is_url(self.root) else f"{self.root}/{name}"
            folder, base = split(inside)
        else:
            base = split(os.path.join("/", name))[1]
            folder = self.root
        return self._folder(folder), base

    def _named(self, name: str) -> tuple[Folder, str]:
        """Return the folder and the name of a checkpoint that is there, ``last`` by its own name.

        Raises:
            CheckpointNotFoundError: there is none.
        """
        folder, base = self._place(name)
        if _is_alias(base) and not self._exists(folder, base):
            base = picking.found(folder, base.removesuffix(EXTENSION)) or base
        self._check_exists(folder, base)
        return folder, base

    def _folder(self, path: str) -> Folder:
        if path not in self._folders:
            disk: Disk = disk_of(path, self._options)
            self._folders[path] = Folder(disk, path, take_over=self._take_over)
        return self._folders[path]

    def _load(self, folder: Folder, base: str, rank: int, weights_only: bool) -> dict[str, Any]:
        self._check_exists(folder, base)
        path = folder.found(base)
        if folder.disk.renames and os.path.isfile(path):
            return lightning_file.read(path)
        return folder.read(base, rank=rank, weights_only=weights_only)

    def _exists(self, folder: Folder, base: str) -> bool:
        return folder.has(base)

    def _check_exists(self, folder: Folder, base: str) -> None:
        if not self._exists(folder, base):
            names = folder.names()
            raise CheckpointNotFoundError(
                f"There is no checkpoint {folder.place(base)}. What is in its folder: "
                f"{', '.join(names) or 'nothing'}.{suggestion(base, [*names, LAST, BEST])}"
            )


def _is_alias(base: str) -> bool:
    return base.removesuffix(EXTENSION) in (LAST, BEST)


def _normal(path: str) -> str:
    path = plain(path)
    return path.rstrip("/") if is_url(path) else os.path.abspath(os.path.expanduser(path))


def save(
    state: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    metrics: Mapping[str, float] | None = None,
    world: Ranks | None = None,
) -> None:
    """Save a state as a folder of that path, whole or not at all, in any loop.

    Args:
        state: a dict of tensors and data.
        path: where, or a URL; a checkpoint that is there already is replaced.
        metrics: what was logged, to be found in the manifest.
        world: the processes that save together, if there are several; each calls this.

    Raises:
        UnsavableStateError: the state holds something that is neither a tensor nor data.
        SaveError: it was not saved. What was there before is still there.
        TypeError: the state is no dict.
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"A checkpoint is a dict of tensors and data. Received one {type(state).__name__}. "
            "Pass a dict, such as the state_dict() of a module."
        )
    folder, name = FolderStore().folder(os.fspath(path))
    ranks = world or Alone()
    on_first(ranks, folder.enter)
    folder.save(state, name, note=Note(metrics=metrics or {}), world=ranks)


def load(path: str | os.PathLike[str], *, weights_only: bool = False) -> dict[str, Any]:
    """Return the state that was saved as a folder of that path, or URL.

    Raises:
        CheckpointNotFoundError: there is none.
        DamagedCheckpointError: it is not whole.
    """
    return FolderStore().load(os.fspath(path), weights_only=weights_only)


def verify(path: str | os.PathLike[str]) -> Manifest:
    """Read a checkpoint through, compare each file with its hash, and return its manifest.

    Raises:
        CheckpointNotFoundError: there is none.
        DamagedCheckpointError: it is not as it was written.
    """
    return FolderStore().verify(os.fspath(path))
