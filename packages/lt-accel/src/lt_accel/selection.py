"""Selection: from the words that speak of hardware to a backend and a world."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, final

from lt_accel.backend import TorchBackend
from lt_accel.devices import choose_device, devices_here, is_device_type
from lt_accel.precision import Precision
from lt_accel.spelling import suggestion
from lt_accel.switches import Switches
from lt_accel.world import SingleProcess


@final
@dataclass(frozen=True, slots=True)
class Selection:
    """What :func:`select` chose.

    Attributes:
        backend: computes.
        world: the processes there are.
        reasons: what was chosen and why, under ``device``, ``precision`` and ``world``.
    """

    backend: TorchBackend
    world: SingleProcess
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words there are, with what they mean where they were not given."""

    accelerator: Any = "auto"
    devices: Any = "auto"
    num_nodes: Any = 1
    strategy: Any = "auto"
    precision: Any = "32-true"
    sync_batchnorm: Any = False
    use_distributed_sampler: Any = True
    inference_mode: Any = True
    deterministic: Any = None
    benchmark: Any = None
    detect_anomaly: Any = False
    compile: Any = False
    max_restarts: Any = 0


ALONE = ("auto", "single_device")
"""Strategies that mean one device in one process."""


def select(**words: Any) -> Selection:
    """Choose a backend and a world, each with its reason.

    A word that is not given, or is None, is chosen automatically.

    Args:
        words: those of Lightning's Trainer.

            - ``accelerator``: ``"auto"`` (cuda before mps before xpu before cpu), ``"gpu"``,
              ``"cpu"``, ``"cuda"``, ``"mps"``, or any device type of torch.
            - ``devices``: ``"auto"``, 1, -1, or which one: ``[0]``, ``"0"``. More than one is
              refused in this version, as are ``num_nodes`` above 1 and any ``strategy`` other than
              ``"auto"`` and ``"single_device"``.
            - ``precision``: see :meth:`Precision.named`.
            - ``inference_mode``: evaluate under ``torch.inference_mode`` rather than
              ``torch.no_grad``.
            - ``deterministic``, ``benchmark``: see :class:`Switches`.
            - ``detect_anomaly``: whether autograd looks for NaN in training. Slow.
            - ``sync_batchnorm``, ``use_distributed_sampler``: nothing to do for one process.

    Raises:
        TypeError: there is no such word, or it is of a type that it can't have.
        ValueError: a word asks for what is not there, or not in this version.

    >>> chosen = select(accelerator="cpu", precision="bf16")
    >>> chosen.backend.device, chosen.backend.precision.name
    (device(type='cpu'), 'bf16-mixed')
    >>> for choice, reason in chosen.reasons.items():
    ...     print(f"{choice:9} {reason}")
    device    cpu: accelerator='cpu'
    precision bf16-mixed: precision='bf16'
    world     one process: one device
    """
    asked = _asked(words)
    for name in ("sync_batchnorm", "use_distributed_sampler", "inference_mode", "detect_anomaly"):
        if not isinstance(getattr(asked, name), bool):
            raise TypeError(f"{name} is True or False. Received {name}={getattr(asked, name)!r}.")
    _refuse_several_processes(asked)
    more = [asked.accelerator] if _names_a_device(asked.accelerator) else []
    device, why = choose_device(asked.accelerator, asked.devices, devices_here(*more))
    precision = Precision.named(asked.precision)
    by_default = words.get("precision") is None
    reasons = {
        "device": why,
        "precision": f"{precision.name}: "
        + ("the default" if by_default else f"precision={asked.precision!r}"),
        "world": "one process: one device",
    }
    backend = TorchBackend(
        device,
        precision,
        inference_mode=asked.inference_mode,
        detect_anomaly=asked.detect_anomaly,
        switches=Switches(deterministic=asked.deterministic, benchmark=asked.benchmark),
    )
    return Selection(backend, SingleProcess(), MappingProxyType(reasons))


def _asked(words: Mapping[str, Any]) -> Words:
    valid = [field.name for field in fields(Words)]
    if unknown := [word for word in words if word not in valid]:
        raise TypeError(
            f"The words for hardware are {', '.join(valid)}. Received {unknown[0]!r}."
            f"{suggestion(unknown[0], valid)}"
        )
    return Words(**{word: value for word, value in words.items() if value is not None})


def _names_a_device(accelerator: Any) -> bool:
    return isinstance(accelerator, str) and is_device_type(accelerator)


def _refuse_several_processes(asked: Words) -> None:
    if isinstance(asked.num_nodes, bool) or not isinstance(asked.num_nodes, int):
        raise TypeError(f"num_nodes is a count of machines. Received {asked.num_nodes!r}.")
    if asked.num_nodes != 1:
        raise ValueError(
            "This version computes in one process on one machine. Received "
            f"num_nodes={asked.num_nodes}. Use num_nodes=1."
        )
    if asked.strategy not in ALONE:
        raise ValueError(
            "This version computes in one process on one device. Received "
            f"strategy={asked.strategy!r}.{suggestion(str(asked.strategy), ALONE)} "
            "Use strategy='auto'."
        )
