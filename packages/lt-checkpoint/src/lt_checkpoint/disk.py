"""Disks: the few file operations that a checkpoint needs, so that a fault can be put into each."""

import os
import shutil
import stat
from collections.abc import Sequence
from typing import BinaryIO, Protocol, final


class Disk(Protocol):
    """Where checkpoints are: a local file system, or a store that looks like one.

    Paths are strings. A path that does not exist raises ``FileNotFoundError``.
    """

    @property
    def renames(self) -> bool:
        """Whether a folder can be renamed in one step. Else a manifest, written last, commits."""

    def join(self, *parts: str) -> str:
        """Return the path of something inside a folder."""

    def make_folder(self, path: str) -> None:
        """Make a folder, and those above it, where they are missing."""

    def create(self, path: str) -> BinaryIO:
        """Open a new file for writing."""

    def flush(self, file: BinaryIO) -> None:
        """Return when the file's content survives a power cut."""

    def flush_folder(self, path: str) -> None:
        """Return when the names in a folder survive a power cut."""

    def rename(self, path: str, to: str) -> None:
        """Rename a folder to a name that is free."""

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading; a link is refused."""

    def size(self, path: str) -> int | None:
        """Return the bytes in a regular file; None for anything else."""

    def is_folder(self, path: str) -> bool:
        """Return whether there is a folder."""

    def exists(self, path: str) -> bool:
        """Return whether there is anything."""

    def names(self, path: str) -> Sequence[str]:
        """Return the names in a folder; none where there is no folder."""

    def remove(self, path: str) -> None:
        """Delete a folder with all that is in it, or a file."""

    def free(self, path: str) -> int | None:
        """Return how many bytes can be written below a folder, None where nobody knows."""


@final
class LocalDisk:
    """A file system of this machine's."""

    renames: bool = True

    def join(self, *parts: str) -> str:
        """Return the path of something inside a folder."""
        return os.path.join(*parts)

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it; the names of the new ones are flushed."""
        missing = []
        above = os.path.abspath(path)
        while not os.path.isdir(above):
            missing.append(above)
            above = os.path.dirname(above)
        os.makedirs(path, exist_ok=True)
        for made in reversed(missing):
            self.flush_folder(os.path.dirname(made))

    def create(self, path: str) -> BinaryIO:
        """Open a new file for writing, without a buffer in between."""
        return open(path, "xb", buffering=0)

    def flush(self, file: BinaryIO) -> None:
        """Flush the file to the device."""
        os.fsync(file.fileno())

    def flush_folder(self, path: str) -> None:
        """Flush the folder to the device."""
        if os.name == "nt":  # where a folder can't be opened, and needs not be
            return
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def rename(self, path: str, to: str) -> None:
        """Rename a folder."""
        os.rename(path, to)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file for reading, without following a link or waiting for a pipe."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb", buffering=0)

    def size(self, path: str) -> int | None:
        """Return the bytes in a regular file; None for anything else, links included."""
        found = os.lstat(path)
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def is_folder(self, path: str) -> bool:
        """Return whether there is a folder."""
        return os.path.isdir(path)

    def exists(self, path: str) -> bool:
        """Return whether there is anything, a broken link included."""
        return os.path.lexists(path)

    def names(self, path: str) -> Sequence[str]:
        """Return the names in a folder."""
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def remove(self, path: str) -> None:
        """Delete a folder or a file; what another process deletes meanwhile is no error."""
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
            if os.path.isdir(path):
                shutil.rmtree(path)
        elif os.path.lexists(path):
            os.remove(path)

    def free(self, path: str) -> int | None:
        """Return the bytes this user may still write to the file system."""
        return shutil.disk_usage(path).free
