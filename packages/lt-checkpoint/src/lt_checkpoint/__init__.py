"""Crash-safe checkpoints: folders of data, without a pickle."""

import logging

from lt_checkpoint.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    FolderInUseError,
    SaveError,
    StoreUnavailableError,
    UnsavableStateError,
)
from lt_checkpoint.folder_store import FolderStore, load, save, verify
from lt_checkpoint.manifest import Manifest
from lt_checkpoint.model_checkpoint import ModelCheckpoint

__all__ = [
    "CheckpointNotFoundError",
    "DamagedCheckpointError",
    "FolderInUseError",
    "FolderStore",
    "Manifest",
    "ModelCheckpoint",
    "SaveError",
    "StoreUnavailableError",
    "UnsavableStateError",
    "load",
    "save",
    "verify",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
