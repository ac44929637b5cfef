"""Files of tensors in the safetensors format, written and read piece by piece.

The format is eight bytes with the length of a header, the header in JSON, and the numbers, without
gaps. Our own code instead of the library's, because a checkpoint is hashed while it is written and
read, is flushed before it counts, and must not need numpy.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO

import torch

from lt_checkpoint.errors import DamagedCheckpointError
from lt_checkpoint.hashing import Hashing
from lt_checkpoint.raw_bytes import bytes_of, fill, tensor_of
from lt_checkpoint.tensor_types import NAMES, TYPES

LONGEST_HEADER = 100_000_000
"""Bytes, as in the safetensors library."""

MOST_DIMENSIONS = 64
CHUNK = 4 << 20


def ordered(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names in the order of the file: wide numbers first, so that all are aligned."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def size_of(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> int:
    """Return how many bytes the file will have."""
    numbers = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return len(_header(tensors, metadata)) + numbers


def pieces(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> Iterator[torch.Tensor]:
    """Yield the file as tensors in memory, one after another.

    Tensors of an accelerator are copied when it is their turn, so that not all of them are in
    memory twice.
    """
    yield tensor_of(_header(tensors, metadata))
    for name in ordered(tensors):
        yield tensors[name].detach().cpu().contiguous()


def _header(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in ordered(tensors):
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read(
    file: BinaryIO, size: int, hashing: Hashing, *, wanted: Collection[str] | None = None
) -> dict[str, torch.Tensor]:
    """Read tensors from a file, and hash all of it.

    Args:
        file: an open file, at its beginning.
        size: how many bytes it has. Nothing is allocated that does not fit into them.
        hashing: gets every byte.
        wanted: the names to return; None for all.

    Raises:
        DamagedCheckpointError: it is no such file.
    """
    found: dict[str, torch.Tensor] = {}
    for name, dtype, shape in _entries(file, size, hashing):
        if wanted is None or name in wanted:
            tensor = _empty(name, shape, dtype)
            fill(file, tensor)
            hashing.add(tensor)
            found[name] = tensor
        else:
            left = math.prod(shape) * dtype.itemsize
            while left:
                part = torch.empty(min(left, CHUNK), dtype=torch.uint8)
                fill(file, part)
                hashing.add(part)
                left -= part.numel()
    return found


def _entries(
    file: BinaryIO, size: int, hashing: Hashing
) -> list[tuple[str, torch.dtype, list[int]]]:
    """Read the header; return name, type and shape of each tensor, in the order of the file."""
    if size < 8:
        raise DamagedCheckpointError(f"it has {size} bytes, a file of tensors at least 8")
    length_field = torch.empty(8, dtype=torch.uint8)
    fill(file, length_field)
    length = int.from_bytes(bytes_of(length_field), "little")
    if length > min(size - 8, LONGEST_HEADER):
        raise DamagedCheckpointError(f"it announces a header of {length} bytes and has {size}")
    text = torch.empty(length, dtype=torch.uint8)
    fill(file, text)
    hashing.add(length_field)
    hashing.add(text)
    try:
        header = json.loads(bytes(bytes_of(text)))
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpointError(f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise DamagedCheckpointError("its header is no table of tensors")
    header.pop("__metadata__", None)
    entries = [_entry(name, entry) for name, entry in header.items()]
    entries.sort(key=lambda entry: entry[3])
    end = 0
    for name, dtype, shape, (begin, after) in entries:
        if begin != end or after - begin != math.prod(shape) * dtype.itemsize:
            raise DamagedCheckpointError(
                f"the place of tensor {name!r} does not fit its shape {shape}"
            )
        end = after
    if 8 + length + end != size:
        raise DamagedCheckpointError(
            f"its header speaks of {8 + length + end} bytes, it has {size}"
        )
    return [(name, dtype, shape) for name, dtype, shape, _ in entries]


def _entry(name: str, entry: Any) -> tuple[str, torch.dtype, list[int], tuple[int, int]]:
    try:
        dtype, shape, (begin, end) = TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in [*shape, begin, end])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(f"its header does not describe tensor {name!r}") from error
    if not whole or not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise DamagedCheckpointError(f"its header does not describe tensor {name!r}")
    return name, dtype, shape, (begin, end)


def _empty(name: str, shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    try:
        return torch.empty(shape, dtype=dtype)
    except (RuntimeError, TypeError) as error:  # a dimension of 2**70 beside one of 0
        raise DamagedCheckpointError(f"tensor {name!r} can't have the shape {shape}") from error
