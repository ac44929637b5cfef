"""Scratch: the folder through which a launcher and its ranks talk, and those of launchers past.

It is removed when the launch ends, however it ends, except where the launcher is killed. What such
a one has left is removed at the next launch: a lock that its processes hold tells the living.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "lt-ranks-"
OWNER = "owner"
"""A file in the folder, locked as long as the launcher or a rank that it forked lives."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder that is gone afterwards, and remove those that nobody uses any more."""
    with contextlib.suppress(OSError):  # a folder of ours is not worth a run
        _sweep(Path(tempfile.gettempdir()))
    made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    with made as name, _locked(Path(name)):
        yield Path(name)


def _sweep(parent: Path) -> None:
    if sys.platform == "win32":
        return
    for owner in parent.glob(f"{PREFIX}*/{OWNER}"):
        with contextlib.suppress(OSError):  # it goes away at this moment
            if owner.parent.lstat().st_uid == os.getuid():
                _remove_unused(owner)


def _remove_unused(owner: Path) -> None:
    descriptor = os.open(owner, os.O_RDWR)
    try:
        if _lock(descriptor):
            shutil.rmtree(owner.parent, ignore_errors=True)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; one without it, where there are no locks, is never swept."""
    new = folder / f"{OWNER}.new"
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if _lock(descriptor):
            new.rename(folder / OWNER)  # nobody may find it before it is locked
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file if nobody holds it; it is free again when all processes have closed it."""
    if sys.platform == "win32":
        return False
    import fcntl  # noqa: PLC0415

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or the file system knows no locks
        return False
    return True
