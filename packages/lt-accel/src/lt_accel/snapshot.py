"""Snapshots: copies of state that later steps cannot change, and putting them back."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lt_accel.gradients import parameters_of


def copied(state: Any) -> Any:
    """Return a copy of nested state that shares no tensor with it; tensors stay on their device."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: copied(part) for key, part in state.items()}
    if type(state) in (list, tuple):
        return type(state)([copied(part) for part in state])
    return copy.deepcopy(state)


def restore_optimizer(optimizer: Any, state: Mapping[str, Any]) -> None:
    """Put an optimizer's state back, bit for bit, without sharing a tensor with the snapshot.

    ``load_state_dict`` casts a state to the dtype of its parameter. For state that is kept in
    higher precision than a bfloat16 or float16 parameter (NAdam's ``mu_product``, say), that would
    lose bits, so such tensors are put back as they were.
    """
    saved = copied(dict(state))
    optimizer.load_state_dict(saved)
    indices = [index for group in saved["param_groups"] for index in group["params"]]
    for index, parameter in zip(indices, parameters_of(optimizer), strict=True):
        loaded = optimizer.state.get(parameter, {})
        for name, value in saved["state"].get(index, {}).items():
            now = loaded.get(name)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype != value.dtype:
                loaded[name] = value.to(now.device)


def move_optimizer(optimizer: Any) -> None:
    """Bring an optimizer's state to the devices and dtypes of its parameters, if it has any."""
    if optimizer.state:
        optimizer.load_state_dict(optimizer.state_dict())
