"""The peak of the device that a module is on, in the precision it computes in. Needs torch."""

from typing import Any

import torch

from lt_callbacks.peak_flops import peak_flops

COMPUTED_IN = {
    "64": "float64",
    "32": "float32",
    "16": "float16",
    "bf16": "bfloat16",
}
"""The dtype of matrix products, by the first word of the precision's name."""


def device_peak(device: torch.device, precision: Any, program: Any) -> float | None:
    """Return the operations per second that a CUDA device is capable of, None if not known.

    Args:
        device: where the program computes.
        precision: the name of the precision, such as ``bf16-mixed``; None for that of the
            program's parameters.
        program: what computes.
    """
    dtype = COMPUTED_IN.get(str(precision).partition("-")[0])
    if dtype is None:
        first = next(iter(program.parameters()), None) if hasattr(program, "parameters") else None
        dtype = "float32" if first is None else str(first.dtype).removeprefix("torch.")
    if dtype == "float32" and torch.get_float32_matmul_precision() != "highest":
        dtype = "tf32"
    return peak_flops(torch.cuda.get_device_name(device), dtype)
