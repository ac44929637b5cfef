"""Sharded tensors: which part of a tensor this process holds, and putting the parts together."""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import torch

from lt_checkpoint.errors import DamagedCheckpointError


@final
@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a tensor.

    Attributes:
        offset: where its first item stands in the whole, by dimension.
        part: the numbers.
    """

    offset: tuple[int, ...]
    part: torch.Tensor


def is_sharded(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is a DTensor, of which each process holds a part."""
    module: Any = sys.modules.get("torch.distributed.tensor")  # not imported: then there are none
    return module is not None and isinstance(tensor, module.DTensor)


def shards_of(tensor: Any) -> list[Shard]:
    """Return the parts of a DTensor that this process has to save: none that another one saves.

    Raises:
        ValueError: the processes hold summands of it rather than parts.
    """
    coordinate = tensor.device_mesh.get_coordinate()
    if any(placement.is_partial() for placement in tensor.placements):
        raise ValueError(f"its placements are {tensor.placements}: redistribute it first")
    if coordinate is None:
        return []
    copies = zip(coordinate, tensor.placements, strict=True)
    if any(place for place, placement in copies if placement.is_replicate()):
        return []
    local = tensor.to_local()
    if not local.numel():
        return []
    (chunk,) = tensor.__create_chunk_list__()
    return [Shard(tuple(chunk.offsets), local)]


def assembled(
    shape: list[int], dtype: torch.dtype, shards: Iterable[Shard], *, limit: int
) -> torch.Tensor:
    """Return the whole of a tensor.

    Args:
        shape: its shape.
        dtype: its type.
        shards: all its parts.
        limit: the bytes that the parts have in their files; the whole can't have more.

    Raises:
        DamagedCheckpointError: the parts do not fill it.
    """
    if math.prod(shape) * dtype.itemsize > limit:
        raise DamagedCheckpointError(f"the parts of a tensor of shape {shape} have {limit} bytes")
    whole, filled = torch.empty(shape, dtype=dtype), 0
    for shard in shards:
        place: Any = whole
        for dimension, (begin, size) in enumerate(zip(shard.offset, shard.part.shape, strict=True)):
            if begin < 0 or begin + size > shape[dimension]:
                raise DamagedCheckpointError(f"a part at {shard.offset} lies outside of {shape}")
            place = place.narrow(dimension, begin, size)
        if shard.part.dtype != dtype:
            raise DamagedCheckpointError(f"a part is of the type {shard.part.dtype}, not {dtype}")
        place.copy_(shard.part)
        filled += shard.part.numel()
    if filled != whole.numel():
        raise DamagedCheckpointError(f"the parts of a tensor of shape {shape} hold {filled} items")
    return whole
