"""Lightning's checkpoint files: read without trusting them, and written for Lightning."""

import os

import torch

from lt_checkpoint.folder_store import load
from lt_checkpoint.lightning_file import read

__all__ = ["export", "read"]

_EXPORTED = (
    *("state_dict", "optimizer_states", "lr_schedulers", "hyper_parameters", "hparams_name"),
    *("datamodule_hyper_parameters", "datamodule_hparams_name"),
)


def export(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write a checkpoint of ours as a ``.ckpt`` file that Lightning loads.

    It holds the weights, hyper-parameters, optimizers and schedules. Lightning's
    ``load_from_checkpoint`` and ``ckpt_path`` take it. Its loops count from 0 then: Lightning
    reads how far training came from a place of its own, which changes from version to version.
    The states of callbacks are not in it either.

    Args:
        path: the checkpoint.
        target: the file to write.

    Raises:
        DamagedCheckpointError: the checkpoint is not whole.
        ValueError: it has no ``state_dict``.
    """
    state = load(path)
    if "state_dict" not in state:
        raise ValueError(
            f"Lightning loads a state_dict. Received {os.fspath(path)}, which holds "
            f"{', '.join(map(str, state)) or 'nothing'}. Export one that a Trainer saved."
        )
    found = {name: state[name] for name in _EXPORTED if name in state}
    found |= {"epoch": state.get("epoch", 0), "global_step": state.get("global_step", 0)}
    found["pytorch-lightning_version"] = "2.0.0"  # so that no migration is tried
    torch.save(found, target)
