"""Where a logger writes: ``save_dir/name/version_0``, then ``version_1``: Lightning's layout."""

import os
import re
from pathlib import Path
from typing import Any, final


@final
class VersionedFolder:
    """The folder of one logger, named when it is first asked for and made when it is claimed.

    Args:
        save_dir: the folder of all experiments; ``~`` and ``$NAME`` are expanded.
        name: the experiment; empty or None for none.
        version: a number for ``version_<number>``, a string for a folder of that name, None for
            the number after the greatest there is.
        sub_dir: a folder inside the version's.

    Raises:
        TypeError: the version is neither number nor string.
        ValueError: the version is a negative number or an empty string.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        *,
        sub_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        _check_version(version)
        self.save_dir = os.path.expandvars(os.path.expanduser(save_dir))
        self.name = name or ""
        self.sub_dir = "" if sub_dir is None else os.fspath(sub_dir)
        self._version = version

    @property
    def version(self) -> int | str:
        """The version. Once asked for, it stays."""
        if self._version is None:
            self._version = next_version(self.root)
        return self._version

    @property
    def is_new(self) -> bool:
        """Whether the version was left open and nobody has asked for it yet."""
        return self._version is None

    @property
    def root(self) -> Path:
        """The folder of all versions."""
        return Path(self.save_dir, self.name)

    @property
    def path(self) -> Path:
        """The folder to write to. It need not exist."""
        version = self.version
        folder = version if isinstance(version, str) else f"version_{version}"
        return self.root / folder / self.sub_dir

    def adopt(self, version: int | str) -> None:
        """Take the version that rank 0 chose."""
        self._version = version

    def claim(self) -> Path:
        """Make the folder and return it.

        Where nobody has asked for the version yet, the folder is one that did not exist: two
        processes that start at the same moment get two.
        """
        if self._version is None:
            self.root.mkdir(parents=True, exist_ok=True)
            self._version = _make_next(self.root)
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path


def next_version(root: Path) -> int:
    """Return the number after the greatest ``version_<number>`` in a folder, 0 for the first."""
    if not root.is_dir():
        return 0
    names = [entry.name for entry in os.scandir(root) if entry.is_dir()]
    numbers = [int(name.removeprefix("version_")) for name in names if _NUMBERED.fullmatch(name)]
    return max(numbers, default=-1) + 1


_NUMBERED = re.compile(r"version_[0-9]+")


def _make_next(root: Path) -> int:
    version = next_version(root)
    while True:
        try:
            (root / f"version_{version}").mkdir()
        except FileExistsError:
            version += 1
        else:
            return version


def _check_version(version: Any) -> None:
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int | str):
        raise TypeError(
            "The version of a logger is an int, a string or None. "
            f"Received version={version!r} of type {type(version).__name__}."
        )
    if version == "" or (isinstance(version, int) and version < 0):
        raise ValueError(
            "The version of a logger is a number from 0, or the name of a folder. "
            f"Received version={version!r}. Leave it out to get the next number."
        )
