"""Checkpoints by their names: which state ``ckpt_path=`` means."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt_loop.callback import Callback
from lt_loop.installed_store import newest
from lt_loop.ports import Store, World

Checkpoint = str | Path | Mapping[str, Any]
"""A state, or the name, path or URL of one; ``"last"`` and ``"best"`` ask the callbacks."""


class NoneYetError(LookupError):
    """The checkpoint callbacks of a run have no checkpoint."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """What a run that was started again goes on from: its newest checkpoint, if it has one yet.

    Attributes:
        began_from: what the call said, from which it goes on otherwise.
    """

    began_from: Checkpoint | None


def find_state(
    asked: Checkpoint | Restarted | None,
    *,
    callbacks: Iterable[Callback],
    store: Store,
    world: World,
    may_be_missing: bool,
) -> dict[str, Any] | None:
    """Return the state to go on from, which the caller may change; None for none.

    Args:
        asked: what ``ckpt_path`` said.
        callbacks: those with the role ``"checkpoint"`` are asked for ``"last"`` and ``"best"``.
        store: loads everything else.
        world: the processes that load together.
        may_be_missing: whether a run may start without the ``"last"`` one, as it does at first.

    Raises:
        LookupError: there is no such state.
    """
    if isinstance(asked, Restarted):
        saved = [one.resolve("last") for one in callbacks if one.role == "checkpoint"]
        asked = "last" if any(saved) else asked.began_from
    if asked is None:
        return None
    if isinstance(asked, Mapping):
        return _of_ones_own(asked)
    name = str(asked)
    if name in ("last", "best"):
        keepers = [callback for callback in callbacks if callback.role == "checkpoint"]
        # All are asked, on all ranks: one that saves beside the training ends that first.
        paths = [found for keeper in keepers if (found := keeper.resolve(name))]
        path = paths[0] if paths else None
        if name == "last" and len(paths) > 1:
            path = world.broadcast(newest(store, paths) if world.rank == 0 else None)
        if path is None and keepers and name == "last" and may_be_missing:
            warnings.warn(
                "ckpt_path='last' goes on from the newest checkpoint. Received a run whose "
                "checkpoint callbacks have none: it starts from the beginning.",
                stacklevel=2,
            )
            return None
        if path is None and keepers:
            raise NoneYetError(
                f"ckpt_path={name!r} means the {'newest' if name == 'last' else 'best'} checkpoint "
                "of this trainer's checkpoint callbacks. Received callbacks that have none. Pass "
                "its path."
            )
        name = path or name
    return _of_ones_own(store.load(name, world=world))


def _of_ones_own(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state in which hooks may put other values, without changing the one that was given.

    Tensors are shared; dictionaries are not.
    """
    return {key: _of_ones_own(v) if type(v) is dict else v for key, v in state.items()}
