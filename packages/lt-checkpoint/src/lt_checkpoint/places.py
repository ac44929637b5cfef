"""Places: where checkpoints of a name are, and the hidden names of what is not whole or not wanted.

======================  ==========================================================
``NAME.ckpt``           a whole checkpoint
``.stage-MARK-NAME``    one that is being written
``.alone-MARK-NAME``    one that is being written without the folder's lock
``.kept-MARK-NAME``     a whole one that is being replaced by another of its name
``.gone-MARK-NAME``     one that is being deleted
======================  ==========================================================

A mark tells which process made it (:mod:`lt_checkpoint.owner`), and a number makes it unique.
"""

import itertools
import os
import re
from typing import NamedTuple

from lt_checkpoint.disk import Disk
from lt_checkpoint.owner import Owner, this_process

EXTENSION = ".ckpt"

_HIDDEN = re.compile(
    r"\.(stage|alone|kept|gone)-([0-9a-f]{8}-[0-9a-f]{8}-[0-9]+-[0-9]+)\.[0-9]+-(.+)"
)
_numbers = itertools.count()


class Hidden(NamedTuple):
    """A hidden name, read."""

    kind: str
    mark: str
    name: str

    def is_abandoned(self, *, locked: bool) -> bool:
        """Return whether the process that made it has ended.

        Args:
            locked: whether this process holds the folder's lock. Then no run on another machine
                writes into it.
        """
        owner = Owner.of_mark(self.mark)
        if owner is None:
            return locked and self.kind != "alone"
        return owner.is_dead()


def hidden(kind: str, name: str) -> str:
    """Return a new hidden name."""
    return f".{kind}-{this_process().mark}.{next(_numbers)}-{name}"


def read_hidden(name: str) -> Hidden | None:
    """Read a hidden name; None where it is none."""
    found = _HIDDEN.fullmatch(name)
    return None if found is None else Hidden(*found.groups())


def is_url(path: str) -> bool:
    """Return whether a path is a URL.

    >>> is_url("s3://bucket/run"), is_url("C:/run"), is_url("/run")
    (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def plain(path: str) -> str:
    """Return the path behind a ``file://`` URL, which names a local folder; else what it is given.

    >>> plain("file:///run/last.ckpt"), plain("s3://bucket/run"), plain("run")
    ('/run/last.ckpt', 's3://bucket/run', 'run')
    """
    return path.removeprefix("file://") if path.startswith("file:///") else path


def inside(folder: str, name: str) -> str:
    """Return the path or URL of a name in a folder."""
    return f"{folder}/{name}" if is_url(folder) else os.path.join(folder, name)


def split(path: str) -> tuple[str, str]:
    """Split a path into the folder and the name in it.

    Raises:
        ValueError: there is no name.
    """
    if is_url(path):
        folder, _, name = path.rstrip("/").rpartition("/")
        bare = folder.endswith("/")
    else:
        folder, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
        bare = False
    if not name or bare or name.startswith(".") or any(ord(c) < 32 for c in name):
        raise ValueError(
            "A checkpoint has a name in a folder, which does not begin with a dot. Received "
            f"{path!r}. Use one like 'checkpoints/epoch=3.ckpt'."
        )
    return folder, name


def kept_copy(disk: Disk, folder: str, name: str) -> str | None:
    """Return the path of a checkpoint that was set aside while one of its name was written."""
    for other in disk.names(folder):
        found = read_hidden(other)
        if found is not None and found.kind == "kept" and found.name == name:
            return disk.join(folder, other)
    return None
