"""Gathering: what all ranks have, on every rank, with gradients if asked for."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def world_size(group: Any = None) -> int:
    """Return how many processes torch has in a group; 1 where there is none."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def gathered(data: Any, *, device: torch.device, group: Any, gradients: bool) -> Any:
    """Return ``data`` with each tensor in it as a stack of those of all ranks.

    Args:
        data: tensors and numbers in dicts, lists and tuples; numbers become tensors. Every rank
            passes the same structure, and tensors of the same shapes and dtypes.
        device: where the numbers go.
        group: a process group of torch; None for all ranks.
        gradients: whether gradients flow back to the ranks that the tensors came from.

    Raises:
        ValueError: ranks differ in structure, shapes or dtypes; on all of them.
    """
    tensors = _mapped(
        data, lambda one: one if isinstance(one, Tensor) else torch.tensor(one, device=device)
    )
    if world_size(group) == 1:
        return tensors
    _compare([f"{where}{_kind(tensor)}" for where, tensor in _walked(tensors)], device, group)
    if not gradients:
        return _mapped(tensors, lambda tensor: stacked(tensor, group))
    return _mapped(tensors, lambda tensor: cast(Tensor, Stack.apply(tensor, group)))  # type: ignore[no-untyped-call]


def _compare(own: list[str], device: torch.device, group: Any) -> None:
    """See that all ranks are about to gather the same kinds of tensors.

    Torch does not look: gloo ends the process, and NCCL may return anything. What is compared is
    one number of each rank; only where those differ do ranks tell each other the rest.
    """
    # Talking over the CPU, where the group can, does not wait for the device.
    place = "cpu" if "cpu:" in dist.get_backend_config(group) else device
    digest = hashlib.blake2b("\n".join(own).encode(), digest_size=8).digest()
    number = torch.tensor([int.from_bytes(digest, signed=True)], device=place)
    numbers = [torch.empty_like(number) for _ in range(world_size(group))]
    dist.all_gather(numbers, number, group=group)
    if len(set(torch.cat(numbers).tolist())) == 1:
        return
    everybody = [text.split("\n") for text in _texts("\n".join(own), place, group)]
    ranks = dist.get_process_group_ranks(group or dist.group.WORLD)
    first, other = next((0, r) for r, kinds in enumerate(everybody) if kinds != everybody[0])
    mine, theirs = (
        "; ".join(kind for kind in everybody[one] if kind not in everybody[two]) or "nothing else"
        for one, two in ((first, other), (other, first))
    )
    if mine == theirs:
        mine, theirs = "; ".join(everybody[first]), "; ".join(everybody[other])
    raise ValueError(
        "all_gather stacks tensors that have the same shape and dtype on every rank. Received "
        f"{mine} on rank {ranks[first]}, and {theirs} on rank {ranks[other]}. Pad them to one "
        "shape, use a DataLoader with drop_last=True, or gather objects of any kind with "
        "trainer.ports.world.gather."
    )


def _texts(text: str, place: Any, group: Any) -> list[str]:
    """Return the texts of all ranks. Torch's own exchange of objects needs numpy."""
    mine = torch.tensor(list(text.encode()), dtype=torch.uint8, device=place)
    size = torch.tensor([len(mine)], device=place)
    sizes = [torch.empty_like(size) for _ in range(world_size(group))]
    dist.all_gather(sizes, size, group=group)
    longest = max(map(int, sizes))
    parts = [mine.new_empty(longest) for _ in sizes]
    dist.all_gather(parts, torch.cat([mine, mine.new_zeros(longest - len(mine))]), group=group)
    return [
        bytes(part[: int(length)].tolist()).decode()
        for part, length in zip(parts, sizes, strict=True)
    ]


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _walked(data: Any, where: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor after the place it has in the containers, in the order of gathering."""
    if isinstance(data, Tensor):
        yield (f"{where}: " if where else "", data)
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _walked(value, f"{where}[{key!r}]")
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _walked(value, f"{where}[{index}]")


def stacked(tensor: Tensor, group: Any) -> Tensor:
    """Return the tensors of all ranks along a new first dimension, without their graphs."""
    parts = [torch.empty_like(tensor, requires_grad=False) for _ in range(world_size(group))]
    dist.all_gather(parts, tensor.detach().contiguous(), group=group)
    return torch.stack(parts)


class Stack(torch.autograd.Function):
    """Stacks the tensors of all ranks; a rank's gradient is the sum of what all ranks send it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        """Gather."""
        ctx.group = group
        return stacked(tensor, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Add up the gradients of all ranks, and keep what belongs to this one."""
        total = grads[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total[dist.get_rank(ctx.group)], None


def _mapped(data: Any, one: Callable[[Any], Tensor]) -> Any:
    if isinstance(data, Tensor | int | float | complex):
        return one(data)
    if isinstance(data, Mapping):
        return {key: _mapped(value, one) for key, value in data.items()}
    if isinstance(data, list):
        return [_mapped(value, one) for value in data]
    if isinstance(data, tuple):
        parts = [_mapped(value, one) for value in data]
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return data
