"""Failures of ranks: written down where they happen, told to the caller who started the group."""

import pickle
import signal
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import final


@final
class RankError(RuntimeError):
    """A rank ended without an exception that could be raised here.

    Attributes:
        rank: which.
        exit_code: what it returned to the system; negative for the signal that ended it, as in
            ``subprocess``; None where it hung or its exception could not be brought over.
    """

    def __init__(self, message: str, rank: int = -1, exit_code: int | None = None) -> None:
        """Say what happened to which rank."""
        super().__init__(message)
        self.rank, self.exit_code = rank, exit_code

    def __reduce__(self) -> tuple[type["RankError"], tuple[str, int, int | None]]:
        """Survive pickling with its attributes."""
        return RankError, (str(self), self.rank, self.exit_code)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An exception of one rank.

    Attributes:
        rank: whose.
        pickled: the exception, empty where it could not be pickled.
        summary: its type and message.
        text: its traceback.
        secondary: whether it only says that another rank is gone.
        seconds: when it happened, by ``time.time``.
    """

    rank: int
    pickled: bytes
    summary: str
    text: str
    secondary: bool
    seconds: float


def record_of(error: BaseException, rank: int, *, waiting: bool) -> Record:
    """Make a record of an exception.

    Args:
        error: it.
        rank: whose.
        waiting: whether the rank was waiting for others when it came.
    """
    # gloo says so with a plain RuntimeError, from wherever it was called: the backward pass, say.
    lost = "gloo/transport" in str(error) or type(error).__name__ in LOST
    return Record(
        rank=rank,
        pickled=_pickled(error),
        summary=f"{type(error).__name__}: {error}".removesuffix(": "),
        text="".join(traceback.format_exception(error)).rstrip(),
        secondary=waiting or lost,
        seconds=time.time(),
    )


LOST = ("DistBackendError", "DistNetworkError", "DistStoreError")
"""Exceptions of torch that say that others can't be reached."""


def _pickled(error: BaseException) -> bytes:
    """Pickle an exception if that can be undone; one with an ``__init__`` of its own often can't.

    What goes wrong here is the class's own; the record says it in words instead.
    """
    try:
        data = pickle.dumps(error)
        return data if type(pickle.loads(data)) is type(error) else b""
    except Exception:
        return b""


def write(record: Record, folder: Path, attempt: int) -> None:
    """Keep a record where the launcher finds it."""
    (folder / f"error-{attempt}-{record.rank}").write_bytes(pickle.dumps(record))


def records(folder: Path, attempt: int) -> list[Record]:
    """Return the records of one attempt, those that started it all first."""
    found = [pickle.loads(path.read_bytes()) for path in folder.glob(f"error-{attempt}-*")]
    return sorted(found, key=lambda record: (record.secondary, record.seconds))


def raised(record: Record, ranks: int) -> BaseException:
    """Return the exception of a record, with a note that says whose it is and where it came from.

    It is a :class:`RankError` where the exception itself could not be brought over, or says that
    all went well, while the rank's work was not done.
    """
    error: BaseException = (
        pickle.loads(record.pickled)
        if record.pickled
        else RankError(f"Rank {record.rank} of {ranks} raised {record.summary}", record.rank)
    )
    if isinstance(error, SystemExit) and not error.code:
        # Raised here, it would end a script as if all had gone well.
        message = f"Rank {record.rank} of {ranks} left by sys.exit({error.code}) in its work."
        error = RankError(message, record.rank, 0)
    error.add_note(f"Raised on rank {record.rank} of {ranks}, where its traceback was:")
    error.add_note(record.text)
    return error


def died(rank: int, ranks: int, exit_code: int | None) -> RankError:
    """Return the error of a rank that ended without a word; None for a code nobody has seen."""
    if exit_code is None:
        how = "ended before its work was done"
    elif exit_code >= 0:
        how = f"exited with code {exit_code}"
    else:
        how = f"was killed by {_signal_name(-exit_code)}"
        if -exit_code == signal.SIGKILL:
            how += ", as the system does when memory runs out"
    return RankError(f"Rank {rank} of {ranks} {how}.", rank, exit_code)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
