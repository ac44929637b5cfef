"""Metric objects of a program, as torchmetrics has them: what they have seen of an epoch so far.

They sum up by themselves and keep it out of ``state_dict()``, so a state taken in the midst of an
epoch holds it beside the weights, under the name of the submodule that the metric is.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

UPDATES = "_update_count"
COMPUTED = "_computed"
"""What torchmetrics keeps beside a metric's state: both must agree with it."""


def capture_metrics(program: Any) -> dict[str, Any]:
    """Return what each metric object among a program's submodules has seen, by its name."""
    return {
        name: {
            "updates": int(getattr(metric, UPDATES, 0)),
            "state": copy.deepcopy(dict(metric.metric_state)),
        }
        for name, metric in _metrics(program)
    }


def restore_metrics(program: Any, state: Mapping[str, Any]) -> None:
    """Put back what :func:`capture_metrics` returned, for the metrics that are still there."""
    for name, metric in _metrics(program):
        if name not in state:
            continue
        for key, value in state[name]["state"].items():
            setattr(metric, key, _where(getattr(metric, key, None), copy.deepcopy(value)))
        setattr(metric, UPDATES, state[name]["updates"])
        setattr(metric, COMPUTED, None)


def reset_metrics(program: Any) -> None:
    """Let each metric object have seen nothing, as that of a program that was just made."""
    for _, metric in _metrics(program):
        metric.reset()


def _metrics(program: Any) -> Iterator[tuple[str, Any]]:
    named = getattr(program, "named_modules", None)
    for name, module in named() if callable(named) else ():
        if hasattr(module, "metric_state") and hasattr(module, "reset"):
            yield name, module


def _where(old: Any, value: Any) -> Any:
    """Bring a restored value to the device of the one it replaces."""
    device = getattr(old, "device", None)
    if device is not None and hasattr(value, "to"):
        return value.to(device)
    return value
