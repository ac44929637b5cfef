"""Randomness: seeding, saving and putting back every random number generator of this process."""

import contextlib
import importlib
import logging
import operator
import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any, SupportsIndex

import torch

log = logging.getLogger("lt_accel")
log.addHandler(logging.NullHandler())

SEEDS = 2**32
"""Seeds lie below this: numpy takes 32 bits."""


def seed_everything(
    seed: SupportsIndex | None = None, workers: bool = False, verbose: bool = True
) -> int:
    """Seed the generators of python, numpy (where it is installed) and torch, on all devices.

    Args:
        seed: from 0 to 2**32 - 1. None chooses one at random; no environment variable is read.
        workers: has no effect, and is there because Lightning has it: torch seeds python, numpy
            and torch in each worker process of a DataLoader from the generator seeded here.
        verbose: log the seed, at the level INFO, to the logger ``lt_accel``.

    Returns:
        The seed.

    Raises:
        TypeError: the seed is no whole number.
        ValueError: it is out of range.
    """
    try:
        number = random.SystemRandom().randrange(SEEDS) if seed is None else operator.index(seed)
    except TypeError as error:
        raise TypeError(
            f"A seed is a whole number from 0 to {SEEDS - 1}. Received {seed!r} of type "
            f"{type(seed).__name__}. Pass an int, or None to have one chosen."
        ) from error
    if not 0 <= number < SEEDS:
        raise ValueError(
            f"A seed is a whole number from 0 to {SEEDS - 1}. Received {number}. Choose another."
        )
    random.seed(number)
    if numpy_random := _numpy_random(load=True):
        numpy_random.seed(number)
    torch.manual_seed(number)
    if verbose:
        log.info("seed set to %d", number)
    return number


@contextlib.contextmanager
def isolate_rng(device: torch.device | str | None = None) -> Iterator[None]:
    """Leave every random generator as it was, whatever happens inside.

    Works as a decorator too. Python, numpy (if imported) and torch on the CPU are covered, and the
    generator of ``device``; with None, those of the accelerators this process has used already.

    >>> before = torch.initial_seed()
    >>> with isolate_rng():
    ...     _ = torch.manual_seed(before + 1)
    >>> torch.initial_seed() == before
    True
    """
    devices = _used_devices() if device is None else [torch.device(device)]
    state = [capture_rng(one) for one in devices]
    try:
        yield
    finally:
        for one, saved in zip(devices, state, strict=True):
            restore_rng(saved, one)


def capture_rng(device: torch.device) -> dict[str, Any]:
    """Return the state of all generators a program on ``device`` may draw from.

    It is plain data: ints, floats and strings in lists, tuples and dicts, and uint8 tensors on the
    CPU.
    """
    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if numpy_random := _numpy_random(load=False):
        numpy_state = numpy_random.get_state(legacy=False)
        key = numpy_state["state"]["key"].tolist()
        state["numpy"] = {**numpy_state, "state": {**numpy_state["state"], "key": key}}
    if device.type == "mps":
        state["device"] = torch.mps.get_rng_state()
    elif device.type != "cpu":
        state["device"] = getattr(torch, device.type).get_rng_state(device)
    return state


def restore_rng(state: Mapping[str, Any], device: torch.device) -> None:
    """Put back what :func:`capture_rng` returned, perhaps in another process.

    A generator that was not captured stays as it is: numpy's where it was not imported, a GPU's
    where the run was on a CPU.
    """
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(state["torch"])
    if "numpy" in state and (numpy_random := _numpy_random(load=True)):
        numpy_random.set_state(state["numpy"])
    if "device" not in state or device.type == "cpu":
        return
    if device.type == "mps":
        torch.mps.set_rng_state(state["device"])
    else:
        getattr(torch, device.type).set_rng_state(state["device"], device)


def _numpy_random(*, load: bool) -> Any:
    """Return ``numpy.random`` if numpy is imported, or, with ``load``, installed; else None."""
    if not load and "numpy" not in sys.modules:
        return None
    try:
        return importlib.import_module("numpy.random")
    except ImportError:
        return None


def _used_devices() -> list[torch.device]:
    """Return the devices whose generators may have been drawn from: always the CPU first."""
    devices = [torch.device("cpu")]
    if torch.cuda.is_initialized():
        devices += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.xpu.is_initialized():
        devices += [torch.device("xpu", index) for index in range(torch.xpu.device_count())]
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    return devices
