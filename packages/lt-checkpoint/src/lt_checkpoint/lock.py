"""The lock of a folder: one run writes into it, and a file in it says which."""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any, final

from lt_checkpoint.errors import FolderInUseError
from lt_checkpoint.owner import Owner, this_process

fcntl: Any = None
with contextlib.suppress(ImportError):  # a system without it
    import fcntl

NAME = ".lock"
_LARGEST = 4096


@final
class FolderLock:
    """Says that this process writes checkpoints into a folder.

    It belongs to the process: all callbacks and stores in it share it, and a process that was
    forked from its holder may write too. One whose process has ended is taken over.

    Args:
        folder: the folder.
        take_over: also take it from a process on another machine, which can't be looked at.
    """

    def __init__(self, folder: str, *, take_over: bool = False) -> None:
        self._take_over = take_over
        self.path = os.path.join(folder, NAME)

    def acquire(self) -> None:
        """Take the lock, or confirm that this process has it.

        Raises:
            FolderInUseError: another process has it, and may be alive.
        """
        text = _spelled(this_process())
        if self._holder_text() == text:
            return
        draft = f"{self.path}.{uuid.uuid4().hex}"
        with open(draft, "x", encoding="ascii") as file:
            file.write(text)
        try:
            with _alone_in(os.path.dirname(self.path)):
                for _ in range(8):  # others may be taking it at this moment
                    if self._link(draft) or self._holder_text() == text:
                        return
                    self._clear()
        finally:
            os.unlink(draft)
        raise self._in_use(None)

    def check(self) -> None:
        """Look whether this process may write, without taking the lock.

        Raises:
            FolderInUseError: another process has it, and may be alive.
        """
        holder = _read(self._holder_text() or "")
        if holder is not None and holder != this_process() and not self._may_take(holder):
            raise self._in_use(holder)

    def release(self) -> None:
        """Give the lock back, if this process has it."""
        if self._holder_text() == _spelled(this_process()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def _link(self, draft: str) -> bool:
        """Put the lock there, in one step, with its whole text."""
        try:
            os.link(draft, self.path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links: the text comes a moment later
            try:
                with open(self.path, "x", encoding="ascii") as file, open(draft) as source:
                    file.write(source.read())
            except FileExistsError:
                return False
        return True

    def _holder_text(self) -> str | None:
        try:
            with open(self.path, encoding="ascii", errors="replace") as file:
                return file.read(_LARGEST)
        except OSError:
            return None

    def _clear(self) -> None:
        """Put away a lock whose holder has ended.

        Raises:
            FolderInUseError: its holder may be alive.
        """
        text = self._holder_text()
        if text is None:
            return
        holder = _read(text)
        if holder is not None and not self._may_take(holder):
            raise self._in_use(holder)
        aside = f"{self.path}.{uuid.uuid4().hex}"
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        with open(aside, encoding="ascii", errors="replace") as file:
            taken = file.read(_LARGEST)
        if taken != text:  # it was another process's, which had just put it there
            with contextlib.suppress(OSError):
                os.link(aside, self.path)
        os.unlink(aside)

    def _may_take(self, holder: Owner) -> bool:
        me = this_process()
        if holder.host != me.host:
            return self._take_over
        return holder.is_dead() or (holder.boot == me.boot and holder.pid == os.getppid())

    def _in_use(self, holder: Owner | None) -> FolderInUseError:
        who = "others" if holder is None else f"process {holder.pid} on {holder.host}"
        return FolderInUseError(
            "One run writes checkpoints into a folder. Received "
            f"{os.path.dirname(self.path)}, which is in use by {who}. Choose another folder; if "
            f"that run was on another machine and has ended, delete {self.path}."
        )


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Let no other process of this machine take a lock in the folder meanwhile, for five seconds.

    To put a dead holder's lock away and to set one's own are two steps, between which another
    process might set its own. The kernel's lock on the folder itself leaves no trace, and falls
    when its holder does. Where there is none, as on some network file systems, or somebody keeps
    it, what the file says decides alone.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(100):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
                continue
            except OSError:
                break
            break
        yield
    finally:
        os.close(handle)


def _spelled(owner: Owner) -> str:
    words = {"host": owner.host, "boot": owner.boot, "pid": owner.pid, "started": owner.started}
    return json.dumps(words, sort_keys=True)


def _read(text: str) -> Owner | None:
    """Return the owner in a lock, None where the text is none: a crash while it was written."""
    try:
        words = json.loads(text)
        return Owner(
            str(words["host"]), str(words["boot"]), int(words["pid"]), int(words["started"])
        )
    except (ValueError, KeyError, TypeError):
        return None
