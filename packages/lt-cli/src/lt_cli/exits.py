"""The exit codes of ``lt``, and who is to blame for an exception."""

import dis
import enum
import signal
from types import TracebackType

HOUSE = {
    "jsonargparse",
    "lt",
    "lt_accel",
    "lt_callbacks",
    "lt_checkpoint",
    "lt_cli",
    "lt_data",
    "lt_loop",
    "lt_module",
}
"""Packages whose exceptions are messages to the user, not mistakes to be traced."""

NEUTRAL = {"contextlib", "functools", "importlib"}
"""Modules that stand between callers and callees of anybody."""

MESSAGES = (TypeError, ValueError, LookupError, RuntimeError, OSError)
"""The kinds of exception that these packages raise to say something."""


class Exit(enum.IntEnum):
    """What the exit code of ``lt`` says. ``SystemExit`` of the user's code keeps its own."""

    OK = 0
    FAILED = 1  # the run began and failed, the user's code failed, or what was looked at is bad
    USAGE = 2  # what was asked for can't be done as it was asked: nothing has run
    INTERRUPTED = 128 + signal.SIGINT  # Ctrl-C, as shells count it: 130


def is_message(error: BaseException) -> bool:
    """Tell whether an exception is a message of the house, so that no traceback is needed.

    It is one if a package of the house raised it by a ``raise`` of its own, and no code of anybody
    else stands between the command and that place.
    """
    if not isinstance(error, MESSAGES):
        return False
    frames = list(_frames(error.__traceback__))
    strangers = [frame for frame in frames if _package(frame) not in HOUSE]
    # What stands on nobody's account, such as contextlib between a with block and the engine.
    if any(_package(frame) not in NEUTRAL for frame in strangers):
        return False
    return bool(frames) and _raises(frames[-1])


def _frames(traceback: TracebackType | None) -> "list[TracebackType]":
    frames = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    # Below the command itself: who called it is not to blame.
    starts = [i for i, frame in enumerate(frames) if _package(frame) == "lt_cli"]
    return frames[starts[0] :] if starts else frames


def _package(traceback: TracebackType) -> str:
    return str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0]


def _raises(traceback: TracebackType) -> bool:
    """Tell whether a frame was left by a ``raise`` statement, not by a failing operation."""
    operation = traceback.tb_frame.f_code.co_code[traceback.tb_lasti]
    return operation == dis.opmap["RAISE_VARARGS"]
