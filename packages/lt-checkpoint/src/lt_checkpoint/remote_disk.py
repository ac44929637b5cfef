"""Remote stores through fsspec, which have no folders to rename: the manifest commits.

A store that can't be reached is not one that lacks a checkpoint. fsspec's own ``exists``, ``isdir``
and ``isfile`` tell both alike, so they are not asked: only what says that there is no such file
counts as its absence, and everything else is a :class:`StoreUnavailableError`.
"""

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Self, cast, final

from lt_checkpoint.disk import Disk, LocalDisk
from lt_checkpoint.errors import StoreUnavailableError
from lt_checkpoint.places import is_url

PIECE = 32 << 20
"""Bytes that are handed over at a time, so that no tensor is in memory twice as a whole."""

WITHOUT_FOLDERS = frozenset(
    {"abfs", "abfss", "adl", "az", "gcs", "gs", "oci", "oss", "r2", "s3", "s3a"}
)
"""Protocols of stores in which a folder is a part of names. To make one there can mean to make a
bucket, which nobody asked for where its name was misspelt."""


def disk_of(path: str, options: Mapping[str, Any] | None = None) -> Disk:
    """Return the disk that a path or URL is on.

    Args:
        path: the path or URL.
        options: what the file system of a URL is made with.

    Raises:
        LookupError: it is a URL, and what reads it is not known or not installed.
    """
    if not is_url(path):
        return LocalDisk()
    disk = RemoteDisk(path, options)
    disk.connect()
    return disk


@contextlib.contextmanager
def _answering(path: str) -> Iterator[None]:
    """Let a store that gives no answer say which one it is.

    Raises:
        FileNotFoundError: there is no such file. That is an answer.
        StoreUnavailableError: there was none. Clients raise errors of many classes.
    """
    try:
        yield
    except (FileNotFoundError, StoreUnavailableError):
        raise
    except Exception as error:
        raise unavailable(path, f"{type(error).__name__}: {error}", error) from error


def unavailable(
    path: str, reason: str, error: BaseException | None = None
) -> StoreUnavailableError:
    """Return the error that says that a store did not do what it was asked for."""
    found = StoreUnavailableError(
        f"A remote store is asked through fsspec. Asked for {path}, it failed with {reason}. Check "
        "the address, the network, the credentials and what they allow; the options of a store "
        "are given by FolderStore(storage_options=...)."
    )
    found.errno = getattr(error, "errno", None)
    return found


@final
class RemoteDisk:
    """A remote store, by way of a file system of fsspec's.

    A file is there as a whole when it is closed. A folder is no thing of its own.

    Args:
        url: any URL in the store.
        options: what the file system is made with.
    """

    renames: bool = False

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._url, self._options = url, dict(options or {})
        # By process: a connection does not survive a fork, and what was made before one must not
        # be cleared away after it, which would close it from the wrong side.
        self._made: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: no connection."""
        return {"_url": self._url, "_options": self._options, "_made": {}}

    def connect(self) -> Any:
        """Return the file system, which is made where this process has none yet.

        Raises:
            LookupError: what reads such URLs is not known or not installed.
        """
        made = self._made.get(os.getpid())
        if made is None:
            made = self._made[os.getpid()] = _file_system(self._url, self._options)
        # Listings are not kept where that could be said; some file systems take no such word.
        made.invalidate_cache()
        return made

    def join(self, *parts: str) -> str:
        """Return the path of something inside a folder."""
        return "/".join(parts)

    def make_folder(self, path: str) -> None:
        """Make a folder, where the store has such."""
        with _answering(path):
            store = self.connect()
            named = {store.protocol} if isinstance(store.protocol, str) else {*store.protocol}
            if not named & WITHOUT_FOLDERS:
                store.makedirs(path, exist_ok=True)

    def create(self, path: str) -> BinaryIO:
        """Open a new file for writing. It is stored when it is left, and not if by an exception."""
        with _answering(path):
            return cast(BinaryIO, RemoteFile(self.connect().open(path, "wb"), path))

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
        with _answering(path):
            return cast(BinaryIO, RemoteFile(self.connect().open(path, "rb"), path))

    def size(self, path: str) -> int | None:
        """Return the bytes in a file; None for anything else."""
        with _answering(path):
            found = self.connect().info(path)
        return int(found["size"]) if found["type"] == "file" else None

    def is_folder(self, path: str) -> bool:
        """Return whether there is a folder."""
        return self._kind(path) == "directory"

    def exists(self, path: str) -> bool:
        """Return whether there is a file, or a folder with something in it."""
        kind = self._kind(path)
        return kind is not None and (kind != "directory" or bool(self.names(path)))

    def _kind(self, path: str) -> str | None:
        try:
            with _answering(path):
                return str(self.connect().info(path)["type"])
        except FileNotFoundError:
            return None

    def names(self, path: str) -> Sequence[str]:
        """Return the names in a folder."""
        try:
            with _answering(path):
                store = self.connect()
                found = store.ls(path, detail=False)
                own = store.unstrip_protocol(path).rstrip("/")
                whole = [store.unstrip_protocol(str(one)).rstrip("/") for one in found]
        except FileNotFoundError:
            return []
        # A file is listed as itself, and so is an object that stands for a folder.
        return sorted(one.rpartition("/")[2] for one in whole if one != own)

    def remove(self, path: str) -> None:
        """Delete a file, or a folder with all that is in it; what is not there is no error.

        Raises:
            StoreUnavailableError: something is still there. Stores that delete many files by one
                request report those that they kept in its answer, which clients pass over.
        """
        with contextlib.suppress(FileNotFoundError), _answering(path):
            self.connect().rm(path, recursive=True)
        if self.exists(path):
            raise unavailable(path, "no error, and did not delete it")

    def free(self, path: str) -> int | None:
        """Return None: nobody knows."""
        return None


def _file_system(url: str, options: Mapping[str, Any]) -> Any:
    try:
        filesystems: Any = importlib.import_module("fsspec.core")
    except ImportError as error:
        raise LookupError(
            f"Checkpoints at a URL are read through fsspec. Received {url!r}, but {error}. "
            "Run: pip install lt-checkpoint[remote]"
        ) from error
    try:
        # What another process saves must be seen, and file systems keep listings for ever.
        try:
            made, _ = filesystems.url_to_fs(url, **{"use_listings_cache": False, **options})
        except TypeError:  # one that hands every word on, as that for sftp:// does
            made, _ = filesystems.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:  # not installed; not known
        raise LookupError(
            f"Checkpoints at a URL are read through fsspec and a package for its protocol, as s3fs "
            f"for s3:// and gcsfs for gs://. Received {url!r}, for which fsspec says: {error}. "
            "Install that package."
        ) from error
    except Exception as error:  # some connect at once
        raise unavailable(url, f"{type(error).__name__}: {error}", error) from error
    return made


@final
class RemoteFile:
    """An open file of a remote store, as much of it as checkpoints need."""

    def __init__(self, file: Any, path: str) -> None:
        self._file, self._path = file, path

    def write(self, data: memoryview) -> int:
        """Take some of the bytes; return how many."""
        with _answering(self._path):
            return int(self._file.write(data[:PIECE]))

    def readinto(self, target: memoryview) -> int:
        """Read some bytes; return how many."""
        with _answering(self._path):
            return int(self._file.readinto(target[:PIECE]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                with _answering(self._path):
                    self._file.close()
            except BaseException:
                self._drop()
                raise
        else:
            self._drop()

    def _drop(self) -> None:
        """Give up what was not stored yet; to close the file would store the beginning of it."""
        spec: Any = importlib.import_module("fsspec.spec")
        if not isinstance(self._file, spec.AbstractBufferedFile):  # its parts are there already
            self._file.close()
            return
        with contextlib.suppress(Exception):  # the store has just failed
            self._file.discard()
        self._file.closed = True
