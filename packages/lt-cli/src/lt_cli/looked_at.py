"""What ``lt ckpt`` is asked to look at: a checkpoint or a folder of them, here or at a URL."""

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, final

EXTENSION = ".ckpt"


def is_url(text: str) -> bool:
    """Return whether an argument is a URL.

    >>> is_url("s3://bucket/run"), is_url("runs/one"), is_url("C:/runs")
    (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


class LookedAt(ABC):
    """A checkpoint, or a folder of them."""

    @property
    @abstractmethod
    def place(self) -> Path | str:
        """The path or URL, as lt-checkpoint takes it."""

    @property
    @abstractmethod
    def whole_place(self) -> Path | str:
        """The same, absolute."""

    @property
    @abstractmethod
    def holder(self) -> Path | str:
        """The folder that it is in."""

    @abstractmethod
    def exists(self) -> bool:
        """Return whether there is anything, as far as can be told without a list of all."""

    @abstractmethod
    def is_one(self) -> bool:
        """Return whether it looks like a checkpoint."""

    @abstractmethod
    def inside(self) -> list[Path] | list[str]:
        """Return what looks like checkpoints in it; nothing where it is one."""

    @abstractmethod
    def deeper(self) -> list[str]:
        """Return folders below it that hold some, where that is cheap to know."""

    def elsewhere(self) -> str:
        """Say where checkpoints are instead: beside it, or in folders within."""
        if self.is_one():
            return f" It is one itself: name the folder it is in, {self.holder}."
        if self.inside():
            return f" Run: lt ckpt verify {self.place}"
        holders = self.deeper()
        return f" There are some in {', '.join(holders)}." if holders else ""


@final
class LocalPlace(LookedAt):
    """A path of this machine's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def place(self) -> Path:
        """The path."""
        return self._path

    @property
    def whole_place(self) -> Path:
        """The absolute path."""
        return self._path.absolute()

    @property
    def holder(self) -> Path:
        """The folder that it is in."""
        return self._path.parent

    def exists(self) -> bool:
        """Return whether there is anything."""
        return self._path.exists()

    def is_one(self) -> bool:
        """Return whether it looks like a checkpoint."""
        return self._path.suffix == EXTENSION or (self._path / "manifest.json").exists()

    def inside(self) -> list[Path]:
        """Return what looks like checkpoints in it; nothing where it is one."""
        return [] if self.is_one() else sorted(self._path.glob(f"*{EXTENSION}"))

    def deeper(self) -> list[str]:
        """Return folders below it that hold some, three deep."""
        patterns = ("*/" * depth + f"*{EXTENSION}" for depth in range(1, 5))
        holders = {path.parent for pattern in patterns for path in self._path.glob(pattern)}
        return list(map(str, sorted(holders)))


@final
class RemotePlace(LookedAt):
    """A URL, which lt-checkpoint reads.

    Args:
        url: the URL.
        reader: lt_checkpoint.
    """

    def __init__(self, url: str, reader: Any) -> None:
        self._url, self._reader = url.rstrip("/"), reader

    @property
    def place(self) -> str:
        """The URL."""
        return self._url

    @property
    def whole_place(self) -> str:
        """The URL."""
        return self._url

    @property
    def holder(self) -> str:
        """The folder that it is in."""
        return self._url.rpartition("/")[0]

    def exists(self) -> bool:
        """Return True: a store has no empty folders, and what is missing is told by who reads."""
        return True

    def is_one(self) -> bool:
        """Return whether it looks like a checkpoint."""
        if self._url.endswith(EXTENSION):
            return True
        return bool(self._reader.FolderStore(self._url).exists("manifest.json"))

    def inside(self) -> list[str]:
        """Return what looks like checkpoints in it; nothing where it is one."""
        if self.is_one():
            return []
        return [f"{self._url}/{name}" for name in self._reader.FolderStore(self._url).names()]

    def deeper(self) -> list[str]:
        """Return nothing: to look for it can mean to list a bucket of millions."""
        return []
