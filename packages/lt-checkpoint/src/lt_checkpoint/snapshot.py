"""Snapshots: a draft that later steps can't change, in memory that is used again and again.

Memory that is new to a process is filled several times slower than memory it has used before.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, final

import torch

from lt_checkpoint.draft import Draft, Table

SHARED_FROM = 16 << 20
"""Bytes from which a second thread copies too: one core does not use a memory's full speed."""


class Pair(NamedTuple):
    """A tensor, and the memory that keeps its numbers."""

    kept: torch.Tensor
    given: torch.Tensor

    def copy(self) -> None:
        """Copy the numbers; from a device, they may arrive later."""
        self.kept.copy_(self.given, non_blocking=True)


@final
class Snapshots:
    """The memory that drafts are copied into. One draft at a time is in it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], torch.Tensor] = {}

    def take(self, draft: Draft) -> Draft:
        """Return a copy of a draft; the one before is overwritten."""
        kept: dict[tuple[str, str], torch.Tensor] = {}
        files: dict[str, bytes | Table] = {}
        pairs: list[Pair] = []
        for file, content in draft.files.items():
            if isinstance(content, bytes):
                files[file] = content
                continue
            copied: dict[str, torch.Tensor] = {}
            for name, tensor in content.tensors.items():
                copied[name] = kept[file, name] = self._memory((file, name), tensor)
                pairs.append(Pair(copied[name], tensor))
            files[file] = Table(copied, dict(content.metadata))
        copy(pairs)
        self._kept = kept
        return Draft(files)

    def _memory(self, key: tuple[str, str], tensor: torch.Tensor) -> torch.Tensor:
        kept = self._kept.get(key)
        if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
            pinned = tensor.device.type == "cuda"
            kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        return kept


def copy(pairs: Sequence[Pair]) -> None:
    """Copy the numbers of all pairs; return when they have arrived."""
    devices = {pair.given.device for pair in pairs if not pair.given.is_cpu}
    for pair in pairs:
        if not pair.given.is_cpu:
            pair.copy()
    here = [pair for pair in pairs if pair.given.is_cpu]
    mine, other = halves(here)
    if other:
        with ThreadPoolExecutor(1, thread_name_prefix="lt-checkpoint-copy") as beside:
            rest = beside.submit(_copy_each, other)
            _copy_each(mine)
            rest.result()
    else:
        _copy_each(mine)
    for device in devices:
        torch.accelerator.synchronize(device)


def halves(pairs: Sequence[Pair]) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Split pairs in two parts of about as many bytes; the second is empty if they are few."""
    sizes = [pair.given.nbytes for pair in pairs]
    total = sum(sizes)
    if total < SHARED_FROM:
        return pairs, ()
    passed = 0
    for index, size in enumerate(sizes):
        if passed + size / 2 >= total / 2:
            return pairs[:index], pairs[index:]
        passed += size
    raise AssertionError


def _copy_each(pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        pair.copy()
