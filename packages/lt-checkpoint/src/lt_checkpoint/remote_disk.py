"""Remote stores through fsspec, which have no folders to rename: the manifest commits."""

import importlib
from collections.abc import Sequence
from typing import Any, BinaryIO, final

from lt_checkpoint.disk import Disk, LocalDisk
from lt_checkpoint.places import is_url


def disk_of(path: str) -> Disk:
    """Return the disk that a path or URL is on.

    Raises:
        LookupError: it is a URL, and what reads it is not installed.
    """
    if not is_url(path):
        return LocalDisk()
    try:
        filesystems: Any = importlib.import_module("fsspec.core")
        filesystem, _ = filesystems.url_to_fs(path)
    except ImportError as error:
        raise LookupError(
            f"Checkpoints at a URL are read through fsspec. Received {path!r}, but {error}. "
            "Install lt-checkpoint[remote], and what that URL needs beside it."
        ) from error
    return RemoteDisk(filesystem)


@final
class RemoteDisk:
    """A remote store, by way of a file system of fsspec's.

    A file is there as a whole when it is closed. A folder is no thing of its own.
    """

    renames: bool = False

    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem

    def join(self, *parts: str) -> str:
        """Return the path of something inside a folder."""
        return "/".join(parts)

    def make_folder(self, path: str) -> None:
        """Make a folder, where the store has such."""
        self._filesystem.makedirs(path, exist_ok=True)

    def create(self, path: str) -> BinaryIO:
        """Open a new file for writing."""
        file: BinaryIO = self._filesystem.open(path, "wb")
        return file

    def flush(self, file: BinaryIO) -> None:
        """Do nothing: what was closed is stored."""

    def flush_folder(self, path: str) -> None:
        """Do nothing: what was closed is stored."""

    def rename(self, path: str, to: str) -> None:
        """Refuse: it would be a copy.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"a remote store does not rename {path} to {to}")

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        file: BinaryIO = self._filesystem.open(path, "rb")
        return file

    def size(self, path: str) -> int | None:
        """Return the bytes in a file; None for anything else."""
        found = self._filesystem.info(path)
        return int(found["size"]) if found["type"] == "file" else None

    def is_folder(self, path: str) -> bool:
        """Return whether there is a folder."""
        return bool(self._filesystem.isdir(path))

    def exists(self, path: str) -> bool:
        """Return whether there is a file, or a folder with something in it."""
        return bool(self.names(path) or self._filesystem.isfile(path))

    def names(self, path: str) -> Sequence[str]:
        """Return the names in a folder."""
        self._filesystem.invalidate_cache()
        if not self._filesystem.isdir(path):
            return []
        found = self._filesystem.ls(path, detail=False)
        return sorted(str(one).rstrip("/").rpartition("/")[2] for one in found)

    def remove(self, path: str) -> None:
        """Delete a file, or a folder with all that is in it."""
        self._filesystem.rm(path, recursive=True)

    def free(self, path: str) -> int | None:
        """Return None: nobody knows."""
        return None
