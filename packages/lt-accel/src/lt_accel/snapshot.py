"""Snapshots: copies of state that later steps cannot change, and putting them back."""

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from lt_accel.gradients import parameters_of

_TELLS_NOTHING = {"params", "defaults", "decoupled_weight_decay"}  # Adam has the last for AdamW


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
    lose bits, so such tensors are put back as they were. Those of a parameter's shape are spread as
    it is.

    Raises:
        ValueError: the state is of another number of parameters, or of another optimizer.
    """
    saved = copied(dict(state))
    indices = [index for group in saved["param_groups"] for index in group["params"]]
    parameters = list(parameters_of(optimizer))
    if len(indices) != len(parameters):
        raise ValueError(
            "An optimizer's state is put back into one of as many parameters. Received that of "
            f"{len(indices)} for {len(parameters)} of {type(optimizer).__name__}. Make the same."
        )
    pairs = list(zip(indices, parameters, strict=True))
    for index, parameter in pairs:
        if one := saved["state"].get(index):
            saved["state"][index] = {key: spread_like(v, parameter) for key, v in one.items()}
    _load_settings_and_state(optimizer, saved)
    for index, parameter in pairs:
        loaded = optimizer.state.get(parameter, {})
        for name, value in saved["state"].get(index, {}).items():
            now = loaded.get(name)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype != value.dtype:
                loaded[name] = value.to(now.device)


def _load_settings_and_state(optimizer: Any, saved: dict[str, Any]) -> None:
    """Load a state, and see that every setting of the optimizer is in it.

    torch takes the settings of any optimizer, and the next step misses those of this one. What may
    be missing in a state of an older torch, its optimizers fill in themselves.
    """
    had = [set(group) & set(getattr(optimizer, "defaults", ())) for group in optimizer.param_groups]
    missing: set[str] = set()
    cause: KeyError | None = None
    try:
        optimizer.load_state_dict(saved)
    except KeyError as error:  # what its optimizers raise at a state that is not theirs
        missing, cause = {str(error.args[0]) if error.args else "something"}, error
    else:
        for names, group in zip(had, optimizer.param_groups, strict=True):
            missing |= names - set(group)
    if missing:
        raise ValueError(
            "An optimizer's state is put back into an optimizer of the same kind. Received "
            f"{type(optimizer).__name__} and a state {_described(saved)}: it lacks "
            f"{_listed(sorted(missing))}. Make the optimizer that the state is of, or load the "
            "weights alone and begin anew with this one."
        ) from cause


def _described(saved: Mapping[str, Any]) -> str:
    """Say which of torch's optimizers a state may be of, by the settings that are in it."""
    settings = set(saved["param_groups"][0]) if saved["param_groups"] else set()
    fitting: dict[int, list[str]] = {}
    for name, kind in sorted(vars(torch.optim).items()):
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer):
            takes = set(inspect.signature(kind).parameters) - _TELLS_NOTHING
            if takes and takes <= settings:
                fitting.setdefault(len(takes), []).append(name)
    if fitting:
        return f"with the settings of {' or '.join(fitting[max(fitting)])}"
    return f"with the settings {_listed(sorted(settings - {'params'}))}"


def load_program(program: Any, state: Mapping[str, Any]) -> None:
    """Put a program's weights back, spread as its parameters are now.

    A snapshot may be of whole tensors or of spread ones, from any number of ranks: each rank takes
    its part.
    """
    now = dict(program.state_dict()) if hasattr(program, "state_dict") else {}
    spread = {key: spread_like(value, now.get(key)) for key, value in state.items()}
    if getattr(program, "strict_loading", True):
        program.load_state_dict(spread)
        return
    left = program.load_state_dict(spread, strict=False)
    if left.missing_keys or left.unexpected_keys:
        warnings.warn(
            f"strict_loading=False loads what a state and {type(program).__name__} share. Received "
            f"a state without {_listed(left.missing_keys)}, and with "
            f"{_listed(left.unexpected_keys)}, which nothing takes.",
            stacklevel=2,
        )


def spread_like(value: Any, like: Any) -> Any:
    """Return a tensor spread as another one is; anything else as it is.

    A spread tensor that must become whole, or be spread in another way, is gathered first, which
    all ranks do together.
    """
    if not isinstance(value, Tensor) or value is like:
        return value
    if is_spread(value):
        if is_spread(like) and _placed_alike(value, like):
            return value
        value = cast(Any, value).full_tensor()
    if not is_spread(like) or value.shape != like.shape:
        return value
    return _part_of(value, like)


def is_spread(value: Any) -> bool:
    """Return whether a tensor is one of torch's DTensors."""
    return hasattr(value, "placements") and hasattr(value, "device_mesh")


def _placed_alike(one: Any, other: Any) -> bool:
    return bool(one.device_mesh == other.device_mesh and one.placements == other.placements)


def _part_of(whole: Tensor, like: Any) -> Tensor:
    """Return this rank's part of a tensor that every rank has, without talking to the others."""
    local = whole.to(like.device_mesh.device_type).detach()
    mesh, coordinate = like.device_mesh, like.device_mesh.get_coordinate()
    for dimension, placement in enumerate(like.placements):
        if placement.is_shard():
            parts = local.chunk(mesh.size(dimension), dim=placement.dim)
            place = coordinate[dimension]
            local = parts[place] if place < len(parts) else local.narrow(placement.dim, 0, 0)
    return cast(
        Tensor,
        type(like).from_local(
            local.contiguous(),
            mesh,
            like.placements,
            run_check=False,
            shape=like.shape,
            stride=like.stride(),
        ),
    )


def move_optimizer(optimizer: Any) -> None:
    """Bring an optimizer's state to the devices and dtypes of its parameters, if it has any."""
    if optimizer.state:
        optimizer.load_state_dict(optimizer.state_dict())


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys) or "nothing"
