"""Prefetching: the next batch comes to the GPU while this one is computed."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lt_accel.moving import Place

WORTHWHILE = 1 << 20
"""Bytes of a batch from which on it is prefetched.

Handing it from one stream to the other takes the CPU several calls a step, which a training waits
for whose steps the CPU can hardly launch fast enough. In one that waits for the GPU it saves the
time of the copy: 10 µs for 64 KiB, 30 µs for 1 MiB, 85 µs for 4 MiB (measured on an H100)."""


def prefetched(batches: Iterable[Any], place: Place, device: torch.device) -> Iterator[Any]:
    """Yield placed batches; on CUDA, each is copied on a stream of its own, one batch ahead.

    The copy is waited for by the stream that computes, not by the CPU, and only a copy from pinned
    memory runs beside the computation. On other devices, and where the first batch is a small one,
    this is ``map(place, batches)``.
    """
    if device.type != "cuda":
        yield from map(place, batches)
        return
    rest = iter(batches)
    for first in rest:
        if _bytes_in(first) < WORTHWHILE:
            yield place(first)
            yield from map(place, rest)
        else:
            every = itertools.chain((first,), rest)
            yield from _ahead(every, place, torch.cuda.Stream(device), device)


def _bytes_in(batch: Any) -> int:
    return sum(leaf.nbytes for leaf in tree_leaves(batch) if isinstance(leaf, Tensor))


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
