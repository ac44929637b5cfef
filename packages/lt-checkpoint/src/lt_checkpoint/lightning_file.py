"""Reading Lightning's checkpoint files without trusting them."""

import datetime
import os
import pathlib
import re
from typing import Any

import torch

from lt_checkpoint.numpy_numbers import STAND_INS, type_within

SAFE_TORCH = (2, 10)
"""The version of torch whose weights-only loader has the fixes of those before."""

_PLAIN: list[Any] = [
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    datetime.datetime,
    datetime.date,
    datetime.timedelta,
    datetime.timezone,
]
"""What a file may name beside what torch allows: values that do nothing but hold numbers."""


_REFUSED = re.compile(r"\bGLOBAL (\S+)")
_BECAUSE = re.compile(r"WeightsUnpickler error: *([^\n]+)")
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def read(path: str | os.PathLike[str], *, accept_old_torch: bool = False) -> dict[str, Any]:
    """Return what is in a Lightning ``.ckpt`` file, with its tensors on the CPU.

    The file is a pickle. torch's weights-only loader reads it, which makes tensors and plain values
    and refuses everything else. Numbers of numpy come as Python's.

    Args:
        path: the file.
        accept_old_torch: read it on a torch whose loader is known to be unsafe. Do so only with a
            file that you wrote.

    Raises:
        RuntimeError: this torch is too old to read it safely.
        ValueError: it is no such file, or holds more than data.
    """
    version = tuple(int(part) for part in str(torch.__version__).split("+")[0].split(".")[:2])
    if version < SAFE_TORCH and not accept_old_torch:
        raise RuntimeError(
            "A Lightning checkpoint is a pickle, which torch reads safely from version 2.10 on. "
            f"Received {os.fspath(path)} and torch {torch.__version__}. Update torch, or call "
            "lt_checkpoint.lightning.read(path, accept_old_torch=True) with a file of your own."
        )
    try:
        allowed = _PLAIN + STAND_INS if version >= SAFE_TORCH else _PLAIN
        with torch.serialization.safe_globals(allowed):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what a broken pickle makes the loader raise is anything
        raise _refused(path, _reason(error)) from error
    if type_within(found):
        raise _refused(path, "it names numpy.dtype, which is more than data")
    if not isinstance(found, dict) or "state_dict" not in found:
        raise ValueError(
            f"A Lightning checkpoint is a dict with a state_dict. Received {os.fspath(path)}, "
            f"which holds a {type(found).__name__}. Pass its weights to load_state_dict yourself."
        )
    return found


def _refused(path: str | os.PathLike[str], reason: str) -> ValueError:
    return ValueError(
        f"A Lightning checkpoint holds tensors and data. Received {os.fspath(path)}, which torch's "
        f"weights-only loader refuses: {reason}. Where that is (hyper-parameters, the state of a "
        "callback or of the data), save plain values instead: numbers, strings, lists, dicts and "
        "tensors. Do so in a process that trusts the file."
    )


def _reason(error: Exception) -> str:
    """Say why a file was refused: what it names, else what torch says without its advice."""
    said = _COLOUR.sub("", str(error))
    if found := _REFUSED.search(said):
        return f"it names {found[1].rstrip('.')}, which is more than data"
    because = _BECAUSE.search(said)
    return (because[1] if because else said.partition("\n")[0]).rstrip(". ") or type(error).__name__
