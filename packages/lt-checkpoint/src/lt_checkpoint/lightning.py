"""Lightning's checkpoint files: read without trusting them, and written for Lightning."""

import datetime
import os
import pathlib
import pickle
from typing import Any

import torch

from lt_checkpoint import reading
from lt_checkpoint.places import split
from lt_checkpoint.remote_disk import disk_of

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


_EXPORTED = (
    *("state_dict", "optimizer_states", "lr_schedulers", "hyper_parameters", "hparams_name"),
    *("datamodule_hyper_parameters", "datamodule_hparams_name"),
)


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
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ValueError(
            f"A Lightning checkpoint holds tensors and data. Received {os.fspath(path)}, which "
            f"torch's weights-only loader refuses: {str(error).splitlines()[0]} Save its "
            "hyper-parameters as plain values, in a process that trusts the file."
        ) from error
    if not isinstance(found, dict) or "state_dict" not in found:
        raise ValueError(
            f"A Lightning checkpoint is a dict with a state_dict. Received {os.fspath(path)}, "
            f"which holds a {type(found).__name__}. Pass its weights to load_state_dict yourself."
        )
    return found


def export(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write a checkpoint of ours as a ``.ckpt`` file that Lightning loads.

    It holds the weights, hyper-parameters, optimizers and schedules, and how far training came.
    Lightning's ``load_from_checkpoint`` and ``ckpt_path`` take it; where in an epoch the run stood,
    and the states of callbacks, are not in it.

    Args:
        path: the checkpoint.
        target: the file to write.

    Raises:
        DamagedCheckpointError: the checkpoint is not whole.
        ValueError: it has no ``state_dict``.
    """
    folder, name = split(os.fspath(path))
    disk = disk_of(folder)
    state, _ = reading.read(disk, disk.join(folder, name))
    if "state_dict" not in state:
        raise ValueError(
            f"Lightning loads a state_dict. Received {os.fspath(path)}, which holds "
            f"{', '.join(map(str, state)) or 'nothing'}. Export one that a Trainer saved."
        )
    found = {name: state[name] for name in _EXPORTED if name in state}
    found |= {"epoch": state.get("epoch", 0), "global_step": state.get("global_step", 0)}
    found["pytorch-lightning_version"] = "2.0.0"  # so that no migration is tried
    torch.save(found, target)
