"""Devices: the words ``accelerator`` and ``devices`` against what this machine has.

Choosing is a pure function of the words and of a table of devices, so that it can be tried out for
machines one does not have.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from lt_accel.spelling import suggestion

# Let torch.cuda.is_available() ask the driver's management library, whoever calls it. By itself it
# starts CUDA, and the process could not be forked into ranks any more.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

Here = Mapping[str, int]
"""How many devices there are of each type: ``{"cpu": 1, "cuda": 2}``."""

GPUS = ("cuda", "mps", "xpu")
"""What ``accelerator="gpu"`` may mean, the preferred first."""

WORDS = ("auto", "gpu", "cpu", "cuda", "mps", "xpu")


class Chosen(NamedTuple):
    """Devices, and why they were chosen."""

    devices: list[torch.device]
    reason: str


def devices_here(*more: str) -> dict[str, int]:
    """Count this machine's devices of the usual types, and of ``more`` types by name.

    No GPU is started: on CUDA, torch asks the driver's management library.
    """
    counts = {kind: _count(kind) for kind in ("cpu", *GPUS, *more)}
    return {kind: count for kind, count in counts.items() if count}


def _count(kind: str) -> int:
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    count = getattr(getattr(torch, kind, None), "device_count", None)
    return int(count()) if callable(count) else 0


def choose_devices(accelerator: Any, devices: Any, here: Here, *, several: bool) -> Chosen:
    """Return the devices these two words ask for, one for each process of this machine.

    Args:
        accelerator: ``"auto"``, ``"gpu"``, or a device type of torch.
        devices: ``"auto"``; how many (-1 for all); or which ones, as a list of indices or as a
            string of them, ``"0"`` or ``"0,1"``. A string with one number other than 0 is a count,
            as in Lightning.
        here: the devices there are.
        several: whether ``"auto"`` means all of them, or the first.

    Raises:
        TypeError: a word is of a type that can't be one.
        ValueError: it means nothing, or a device that is not there.
    """
    wanted = _parse(-1 if devices == "auto" and several else devices)
    kind = _kind(accelerator, here)
    indices = _indices(wanted, devices, kind, here)
    chosen = [
        torch.device(kind) if kind in ("cpu", "mps") else torch.device(kind, index)
        for index in indices
    ]
    reason = _reason(accelerator, devices, kind, here[kind], several=several)
    return Chosen(chosen, f"{_summary(chosen)}: {reason}")


def _summary(devices: Sequence[torch.device]) -> str:
    """Name devices shortly.

    >>> _summary([torch.device("cpu")] * 2), _summary([torch.device("cuda", 0)])
    ('cpu for each of 2 processes', 'cuda:0')
    """
    names = list(dict.fromkeys(map(str, devices)))
    if len(devices) > 1 and len(names) == 1:
        return f"{names[0]} for each of {len(devices)} processes"
    return ", ".join(names)


def _reason(accelerator: Any, devices: Any, kind: str, count: int, *, several: bool) -> str:
    if accelerator != "auto":
        why = f"accelerator={accelerator!r}"
    elif kind == "cpu":
        why = "no GPU visible to torch"
    else:
        why = "one GPU visible" if count == 1 else f"{count} GPUs visible"
    if devices != "auto":
        return f"{why}, devices={devices!r}"
    if count > 1:
        return f"{why}, {'all of them' if several else 'this is the first'}"
    return why


def _kind(accelerator: Any, here: Here) -> str:
    """Return the device type that is asked for, and is there."""
    if accelerator == "auto":
        return next((gpu for gpu in GPUS if here.get(gpu)), "cpu")
    if not isinstance(accelerator, str):
        raise TypeError(
            "accelerator is a string such as 'auto', 'cpu' or 'gpu'. Received "
            f"accelerator={accelerator!r} of type {type(accelerator).__name__}."
        )
    if accelerator == "gpu":
        kind = next((gpu for gpu in GPUS if here.get(gpu)), "gpu")
    else:
        kind = accelerator
        if not is_device_type(kind):
            raise ValueError(
                "accelerator is 'auto', 'gpu' or a device type of torch. Received accelerator="
                f"{accelerator!r}.{suggestion(kind, WORDS)} Devices here: {described(here)}."
            )
    if not here.get(kind):
        needs = "a GPU" if kind == "gpu" else f"a device of type {kind!r}"
        others = ["auto"] if kind == "cpu" else ["cpu", "auto"]
        raise ValueError(
            f"accelerator={accelerator!r} needs {needs} that torch can see. Devices here: "
            f"{described(here)}. Use accelerator={' or '.join(map(repr, others))}."
        )
    return kind


def is_device_type(word: str) -> bool:
    """Return whether torch knows a type of device by that name, present or not."""
    try:
        return torch.device(word).type == word and word != "meta"
    except RuntimeError:
        return False


def described(here: Here) -> str:
    """Name the devices: ``"cpu, cuda:0, cuda:1"``."""
    return ", ".join(
        kind if kind in ("cpu", "mps") else f"{kind}:{index}"
        for kind, count in here.items()
        for index in range(count)
    )


def _parse(devices: Any) -> int | list[int]:
    """Return how many devices are wanted, -1 for all, or which ones."""
    if devices == "auto":
        return [0]
    if isinstance(devices, str):
        return _parse_text(devices)
    if isinstance(devices, Sequence):
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in devices):
            raise TypeError(f"{RULE} Received devices={devices!r}, not all of them whole numbers.")
        if not devices or len(set(devices)) < len(devices) or min(devices) < 0:
            raise ValueError(
                f"{RULE} Received devices={devices!r}. Name at least one, none twice, from 0."
            )
        return list(devices)
    if isinstance(devices, bool) or not isinstance(devices, int):
        raise TypeError(f"{RULE} Received devices={devices!r} of type {type(devices).__name__}.")
    if devices < -1 or devices == 0:
        raise ValueError(f"{RULE} Received devices={devices}. Use 1, or accelerator='cpu'.")
    return devices


def _parse_text(devices: str) -> int | list[int]:
    try:
        numbers = [int(part) for part in devices.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"{RULE} Received devices={devices!r}.") from None
    if "," not in devices and numbers and numbers != [0]:
        return _parse(numbers[0])
    return _parse(numbers)


RULE = "devices is 'auto', a count (-1 for all), or the indices of devices: [0] or '0,1'."


def _indices(wanted: int | list[int], devices: Any, kind: str, here: Here) -> Sequence[int]:
    count = here[kind]
    indices = range(count if wanted == -1 else wanted) if isinstance(wanted, int) else wanted
    if kind == "cpu" and isinstance(wanted, int):
        return indices  # one CPU serves any number of processes
    if missing := [index for index in indices if index >= count]:
        raise ValueError(
            f"Devices are asked for among those that exist. Received devices={devices!r}, and "
            f"there is no {kind}:{missing[0]}. Devices here: {described(here)}."
        )
    return indices
