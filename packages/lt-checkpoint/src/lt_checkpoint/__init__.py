"""Crash-safe checkpoints: folders of data, without a pickle."""

import logging

from lt_checkpoint.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    FolderInUseError,
    SaveError,
    UnsavableStateError,
)
from lt_checkpoint.folder_store import FolderStore, load, save, verify
from lt_checkpoint.manifest import Manifest

__all__ = [
    "CheckpointNotFoundError",
    "DamagedCheckpointError",
    "FolderInUseError",
    "FolderStore",
    "Manifest",
    "SaveError",
    "UnsavableStateError",
    "load",
    "save",
    "verify",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
