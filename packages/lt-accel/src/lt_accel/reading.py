"""Reading: logged values turned into floats, in one transfer for each device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def read(values: Sequence[Any]) -> list[float]:
    """Return each value as a float, at the precision it has.

    Tensors, of one element each, may be of any dtype and on any devices; those of one device come
    over in one transfer (on MPS, which has no float64, in one for each dtype).

    >>> read([1, torch.tensor(0.5), torch.tensor([2], dtype=torch.int32)])
    [1.0, 0.5, 2.0]

    Raises:
        ValueError: a tensor has more than one element, or none.
    """
    groups: dict[torch.device, dict[torch.dtype, list[int]]] = {}
    numbers: list[float] = []
    for place, value in enumerate(values):
        if not isinstance(value, Tensor):
            numbers.append(float(value))
            continue
        if value.numel() != 1:
            raise ValueError(
                "A value that is turned into a number has one element. Received a tensor of shape "
                f"{tuple(value.shape)}. Reduce it first, for example with .mean()."
            )
        if value.is_cpu:
            numbers.append(float(value.item()))  # nothing to wait for, and stacking costs more
        else:
            groups.setdefault(value.device, {}).setdefault(value.dtype, []).append(place)
            numbers.append(0.0)
    for device, by_dtype in groups.items():
        places = [place for group in by_dtype.values() for place in group]
        tensors = [[values[place] for place in group] for group in by_dtype.values()]
        for place, number in zip(places, transferred(device, tensors), strict=True):
            numbers[place] = number
    return numbers


@torch.no_grad()
def transferred(device: torch.device, groups: list[list[Tensor]]) -> list[float]:
    """Read one-element tensors of one device, grouped by dtype, in one transfer."""
    stacks = [torch.stack([tensor.reshape(()) for tensor in group]) for group in groups]
    if len(stacks) > 1 and device.type != "mps":
        stacks = [torch.cat([stack.double() for stack in stacks])]
    return [float(number) for stack in stacks for number in stack.tolist()]
