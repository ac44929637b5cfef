"""Reading Lightning's checkpoint files without trusting them."""

import datetime
import os
import pathlib
from typing import Any

import torch

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


def read(path: str | os.PathLike[str], *, accept_old_torch: bool = False) -> dict[str, Any]:
    """Return what is in a Lightning ``.ckpt`` file, with its tensors on the CPU.

    The file is a pickle. torch's weights-only loader reads it, which makes tensors and plain values
    and refuses everything else.

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
        with torch.serialization.safe_globals(_PLAIN):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what a broken pickle makes the loader raise is anything
        said = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(
            f"A Lightning checkpoint holds tensors and data. Received {os.fspath(path)}, which "
            f"torch's weights-only loader refuses: {said}. Save its "
            "hyper-parameters as plain values, in a process that trusts the file."
        ) from error
    if not isinstance(found, dict) or "state_dict" not in found:
        raise ValueError(
            f"A Lightning checkpoint is a dict with a state_dict. Received {os.fspath(path)}, "
            f"which holds a {type(found).__name__}. Pass its weights to load_state_dict yourself."
        )
    return found
