"""Snapshots: a draft that later steps can't change, in memory that is used again and again.

Memory that is new to a process is filled several times slower than memory it has used before.
"""

from typing import final

import torch

from lt_checkpoint.draft import Draft, Table


@final
class Snapshots:
    """The memory that drafts are copied into. One draft at a time is in it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], torch.Tensor] = {}

    def take(self, draft: Draft) -> Draft:
        """Return a copy of a draft; the one before is overwritten."""
        kept: dict[tuple[str, str], torch.Tensor] = {}
        files: dict[str, bytes | Table] = {}
        devices: set[torch.device] = set()
        for file, content in draft.files.items():
            if isinstance(content, bytes):
                files[file] = content
                continue
            copied: dict[str, torch.Tensor] = {}
            for name, tensor in content.tensors.items():
                devices.add(tensor.device)
                copied[name] = kept[file, name] = self._copy((file, name), tensor)
            files[file] = Table(copied, dict(content.metadata))
        for device in devices:
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
        self._kept = kept
        return Draft(files)

    def _copy(self, key: tuple[str, str], tensor: torch.Tensor) -> torch.Tensor:
        kept = self._kept.get(key)
        if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
            pinned = tensor.device.type == "cuda"
            kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        return kept.copy_(tensor, non_blocking=True)
