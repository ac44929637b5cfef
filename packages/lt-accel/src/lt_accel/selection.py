"""Selection: from the words that speak of hardware to a backend and a world."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, final

from lt_accel.backend import TorchBackend
from lt_accel.compilation import compilation
from lt_accel.composition import sharding_for
from lt_accel.devices import devices_here, is_device_type
from lt_accel.population import Population, Wanted, populate
from lt_accel.precision import Precision
from lt_accel.spelling import suggestion
from lt_accel.strategies import strategy_named
from lt_accel.switches import Switches
from lt_accel.world import SingleProcess, TorchWorld


@final
@dataclass(frozen=True, slots=True)
class Selection:
    """What :func:`select` chose.

    Attributes:
        backend: computes.
        world: the processes there are.
        reasons: what was chosen and why, under ``device``, ``precision``, ``sharding`` and
            ``world``.
    """

    backend: TorchBackend
    world: SingleProcess | TorchWorld
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words there are, with what they mean where they were not given."""

    accelerator: Any = "auto"
    devices: Any = "auto"
    num_nodes: Any = None
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


def select(**words: Any) -> Selection:
    """Choose a backend and a world, each with its reason.

    A word that is not given, or is None, is chosen automatically.

    Args:
        words: those of Lightning's Trainer.

            - ``accelerator``: ``"auto"`` (cuda before mps before xpu before cpu), ``"gpu"``,
              ``"cpu"``, ``"cuda"``, ``"mps"``, or any device type of torch.
            - ``devices``: ``"auto"``, how many (-1 for all), or which ones: ``[0]``, ``"0,1"``.
              ``"auto"`` is one device, unless ``strategy`` names several processes, which makes it
              all of them, or a launcher has started some.
            - ``num_nodes``: machines.
            - ``strategy``: see :mod:`lt_accel.strategies`; ``"auto"`` is :class:`DDP` where there
              are several processes.
            - ``precision``: see :meth:`Precision.named`.
            - ``inference_mode``: evaluate under ``torch.inference_mode`` rather than
              ``torch.no_grad``.
            - ``deterministic``, ``benchmark``: see :class:`Switches`.
            - ``detect_anomaly``: whether autograd looks for NaN in training. Slow.
            - ``sync_batchnorm``: whether batch statistics are those of all ranks; on a GPU.
            - ``use_distributed_sampler``: read by who reads data.
            - ``compile``: True, or a dict of the options of ``torch.compile``; see
              :mod:`lt_accel.compilation`.
            - ``max_restarts``: how often processes that we start are started again after one of
              them has failed.

    Raises:
        TypeError: there is no such word, or it is of a type that it can't have.
        ValueError: a word asks for what is not there, or two contradict each other.

    >>> chosen = select(accelerator="cpu", precision="bf16")
    >>> chosen.backend.device, chosen.backend.precision.name
    (device(type='cpu'), 'bf16-mixed')
    >>> for choice, reason in chosen.reasons.items():
    ...     print(f"{choice:9} {reason}")
    device    cpu: accelerator='cpu'
    precision bf16-mixed: precision='bf16'
    sharding  none: one process
    world     one process: one device
    """
    asked = _asked(words)
    for name in ("sync_batchnorm", "use_distributed_sampler", "inference_mode", "detect_anomaly"):
        if not isinstance(getattr(asked, name), bool):
            raise TypeError(f"{name} is True or False. Received {name}={getattr(asked, name)!r}.")
    more = [asked.accelerator] if _names_a_device(asked.accelerator) else []
    wanted = Wanted(
        accelerator=asked.accelerator,
        devices=asked.devices,
        num_nodes=None if asked.num_nodes is None else _count("num_nodes", asked.num_nodes, 1),
        strategy=asked.strategy,
        spread=strategy_named(asked.strategy),
        max_restarts=_count("max_restarts", asked.max_restarts, 0),
    )
    people = populate(wanted, os.environ, devices_here(*more))
    precision = Precision.named(asked.precision)
    world = _world(people)
    sharding = sharding_for(
        people.strategy, world, precision=precision, sync_batchnorm=asked.sync_batchnorm
    )
    by_default = words.get("precision") is None
    reasons = {
        "device": people.why_devices,
        "precision": f"{precision.name}: "
        + ("the default" if by_default else f"precision={asked.precision!r}"),
        "sharding": f"{sharding.reason}: "
        + ("one process" if people.strategy is None else f"strategy={asked.strategy!r}"),
        "world": people.why_world,
    }
    backend = TorchBackend(
        people.devices[0],
        precision,
        inference_mode=asked.inference_mode,
        detect_anomaly=asked.detect_anomaly,
        switches=Switches(deterministic=asked.deterministic, benchmark=asked.benchmark),
        sharding=sharding,
        compilation=compilation(
            asked.compile, people.devices[0], precision, ranks=world.world_size
        ),
    )
    return Selection(backend, world, MappingProxyType(reasons))


def _world(people: Population) -> SingleProcess | TorchWorld:
    if people.strategy is None:
        return SingleProcess()
    return TorchWorld(
        people.devices,
        place=people.place,
        how=people.how,
        process_group_backend=people.strategy.process_group_backend,
    )


def _count(name: str, value: Any, least: int) -> int:
    """Return a count that was given.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a count. Received {name}={value!r}.")
    if value < least:
        raise ValueError(f"{name} is a count from {least}. Received {name}={value}.")
    return value


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
