"""Owners: which process a lock or a left-over folder belongs to, and whether it still lives."""

import functools
import hashlib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

_MARK = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})-([0-9]+)-([0-9]+)")


@final
@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from one that later gets the same number.

    Attributes:
        host: the name of the machine.
        boot: the boot of it in which the process lives; empty where that is not known.
        pid: the number of the process.
        started: when it began, in the kernel's ticks since the boot; 0 where that is not known.
    """

    host: str
    boot: str
    pid: int
    started: int

    @property
    def mark(self) -> str:
        """The owner as a part of a file name."""
        return f"{_digest(self.host)}-{_digest(self.boot)}-{self.pid}-{self.started}"

    @classmethod
    def of_mark(cls, mark: str) -> Self | None:
        """Return the owner in a mark. None for one of another machine, and what is no mark."""
        found = _MARK.fullmatch(mark)
        if found is None or found[1] != _digest(socket.gethostname()):
            return None
        boot = _boot() if found[2] == _digest(_boot()) else "another"
        return cls(socket.gethostname(), boot, int(found[3]), int(found[4]))

    def is_dead(self) -> bool:
        """Return whether it is known that the process has ended: never for another machine's."""
        if self.host != socket.gethostname():
            return False
        if self.boot != _boot():
            return True
        started = _started(self.pid)
        if started is not None:
            return started != self.started
        return _has_proc() or not _answers(self.pid)


def this_process() -> Owner:
    """Return the owner of what this process makes."""
    pid = os.getpid()
    return Owner(socket.gethostname(), _boot(), pid, _started(pid) or 0)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _has_proc() -> bool:
    return Path("/proc/self").exists()


def _started(pid: int) -> int | None:
    """Return when a process began, None where there is none that runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return None
    after = fields.rpartition(")")[2].split()  # the name before may hold anything
    return None if after[0] in "ZX" else int(after[19])


def _answers(pid: int) -> bool:
    """Return whether there is a process of that number, where there is no /proc to look into."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
