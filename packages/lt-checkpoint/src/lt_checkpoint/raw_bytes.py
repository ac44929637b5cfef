"""The bytes of a tensor, without a copy and without numpy."""

import ctypes
from typing import BinaryIO

import torch

from lt_checkpoint.errors import DamagedCheckpointError


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor, to be read or written in place.

    It does not keep the tensor alive.
    """
    size = tensor.numel() * tensor.element_size()
    if not size:
        return memoryview(bytearray())
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr())).cast("B")


def tensor_of(data: bytes) -> torch.Tensor:
    """Return bytes as a tensor of one dimension that owns its memory."""
    made = torch.empty(len(data), dtype=torch.uint8)
    bytes_of(made)[:] = data
    return made


def fill(file: BinaryIO, tensor: torch.Tensor) -> None:
    """Read as many bytes as a tensor has into it.

    Raises:
        DamagedCheckpointError: the file has fewer.
    """
    left = bytes_of(tensor)
    while left:
        count = file.readinto(left)  # type: ignore[attr-defined]
        if not count:
            raise DamagedCheckpointError("it ends too early")
        left = left[count:]
