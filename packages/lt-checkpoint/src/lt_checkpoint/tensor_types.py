"""Which types of numbers a file of tensors holds, and under which names."""

import torch

NAMES: dict[torch.dtype, str] = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""The types that safetensors knows since its version 0.4, by their names there."""

TYPES: dict[str, torch.dtype] = {name: dtype for dtype, name in NAMES.items()}

PLAIN: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
}
"""Every type of torch's by the name it has in ``torch``."""


def plain_name(dtype: torch.dtype) -> str:
    """Return the name of a type: ``float32``."""
    return str(dtype).removeprefix("torch.")


def storable(tensor: torch.Tensor) -> tuple[torch.Tensor, str | None]:
    """Return a tensor of a type that can be stored, and the name of the type it stands for.

    Complex numbers become pairs, types that the format has no name for become bytes. None where
    the tensor is stored as it is.
    """
    if tensor.dtype in NAMES:
        return tensor, None
    if tensor.is_complex():
        return torch.view_as_real(tensor), plain_name(tensor.dtype)
    flat = tensor.contiguous()
    if flat.dim() == 0:
        return flat.reshape(1).view(torch.uint8), plain_name(tensor.dtype) + "/0"
    return flat.view(torch.uint8), plain_name(tensor.dtype)


def restored(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """Undo :func:`storable`.

    Raises:
        ValueError: the name is no type, or the tensor can't stand for it.
    """
    name, _, scalar = name.partition("/")
    dtype = PLAIN.get(name)
    if dtype is None or dtype in NAMES:
        raise ValueError(f"{name!r} is no type that is stored as another.")
    try:
        if dtype.is_complex:
            return torch.view_as_complex(tensor)
        found = tensor.view(dtype)
        return found.reshape(()) if scalar else found
    except RuntimeError as error:
        raise ValueError(f"A tensor of shape {tuple(tensor.shape)} is no {name}.") from error
