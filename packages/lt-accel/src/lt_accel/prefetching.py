"""Prefetching: the next batch comes to the GPU while this one is computed."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lt_accel.moving import Place


def prefetched(batches: Iterable[Any], place: Place, device: torch.device) -> Iterator[Any]:
    """Yield placed batches; on CUDA, each is copied on a stream of its own, one batch ahead.

    The copy is waited for by the stream that computes, not by the CPU, and only a copy from pinned
    memory runs beside the computation. On other devices this is ``map(place, batches)``.
    """
    if device.type != "cuda":
        return map(place, batches)
    return _ahead(batches, place, torch.cuda.Stream(device), device)


def _ahead(
    batches: Iterable[Any], place: Place, copies: torch.cuda.Stream, device: torch.device
) -> Iterator[Any]:
    """Start the copy of a batch, then hand out the one before."""
    before: list[Any] = []
    for batch in batches:
        with torch.cuda.stream(copies):
            placed = place(batch)
        if before:
            yield before.pop()
        # Waited for when the batch is about to be used, not when its copy begins.
        before.append(placed)
        _arrive(placed, copies, device)
    yield from before


def _arrive(batch: Any, copies: torch.cuda.Stream, device: torch.device) -> None:
    """Let the computing stream wait for a copy, and keep its memory until that stream is done."""
    computes = torch.cuda.current_stream(device)
    computes.wait_stream(copies)
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Tensor) and leaf.is_cuda:
            leaf.record_stream(computes)
