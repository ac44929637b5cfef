"""What a device tells about its memory. Needs torch."""

from typing import Any

import torch


def device_statistics(device: torch.device) -> dict[str, Any]:
    """Return the memory statistics of a device, in bytes or counts; empty where it keeps none.

    Those of CUDA are of torch's allocator, which the host knows: nothing is waited for.
    """
    of_kind = getattr(torch, device.type, None)
    statistics = getattr(of_kind, "memory_stats", None)
    return {} if statistics is None else dict(statistics(device))
