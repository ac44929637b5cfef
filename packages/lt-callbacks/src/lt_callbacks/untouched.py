"""Leaving a module and the random generators as they were. Needs torch."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Leave no trace of what happens inside: modes, buffers, gradients, random generators.

    Modes are those of each submodule. Buffers are put back in place, where they were changed in
    place, and by assignment, where they were replaced. The random generators are those of Python,
    of torch on the CPU and on the module's devices, and of numpy where it has been imported.
    """
    modes = [(child, child.training) for child in module.modules()]
    buffers = [
        (child, name, buffer, buffer.detach().clone())
        for child in module.modules()
        for name, buffer in child.named_buffers(recurse=False)
    ]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    with random_generators_untouched(module):
        try:
            yield
        finally:
            for child, training in modes:
                child.training = training
            with torch.no_grad():
                for child, name, buffer, copied in buffers:
                    if not torch.equal(buffer, copied):
                        buffer.copy_(copied)
                    if child._buffers.get(name) is not buffer:  # noqa: SLF001 - no public way
                        child._buffers[name] = buffer  # noqa: SLF001
            for parameter, gradient in gradients:
                parameter.grad = gradient


@contextmanager
def random_generators_untouched(module: nn.Module) -> Iterator[Callable[[], None]]:
    """Leave the random generators that a module may draw from as they were.

    Yields:
        A function that puts them back, to draw the same numbers again. (Seeding would not do: it
        reaches generators of devices that nobody has asked for yet.)
    """
    devices = {tensor.device for tensor in (*module.parameters(), *module.buffers())}
    accelerators = [device for device in devices if device.type in ("cuda", "mps", "xpu")]
    numpy = sys.modules.get("numpy")
    of_python, of_numpy = random.getstate(), numpy.random.get_state() if numpy else None
    of_torch = torch.get_rng_state()
    of_devices = [(device, _state_of(device)) for device in accelerators]

    def rewind() -> None:
        random.setstate(of_python)
        if numpy:
            numpy.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)
        for device, state in of_devices:
            _put_back(device, state)

    try:
        yield rewind
    finally:
        rewind()


def _state_of(device: torch.device) -> Tensor:
    if device.type == "mps":  # there is one
        return torch.mps.get_rng_state()
    state: Tensor = getattr(torch, device.type).get_rng_state(device)
    return state


def _put_back(device: torch.device, state: Tensor) -> None:
    if device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        getattr(torch, device.type).set_rng_state(state, device)
