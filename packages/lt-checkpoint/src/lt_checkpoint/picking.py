"""Picking: which checkpoint of a folder is meant by ``last`` and by ``best``."""

import functools
from typing import Any

from lt_checkpoint.errors import CheckpointNotFoundError, DamagedCheckpointError
from lt_checkpoint.folder import Folder, passed_over
from lt_checkpoint.manifest import Manifest
from lt_checkpoint.places import EXTENSION
from lt_checkpoint.together import Ranks, apiece, on_first

LAST, BEST = "last", "best"


def last(folder: Folder, ranks: Ranks, *, weights_only: bool) -> dict[str, Any]:
    """Return the newest state that is whole for every rank, with a warning of those that are not.

    Raises:
        CheckpointNotFoundError: there is none.
    """

    def look() -> tuple[list[str], dict[str, str]]:
        newest, damaged = folder.newest_first(full=not weights_only)
        return [name for name, _ in newest], damaged

    names, damaged = on_first(ranks, look)
    for name in names:
        tried = functools.partial(_tried, folder, name, ranks.rank, weights_only=weights_only)
        state, wrong = apiece(ranks, tried)
        told = ranks.gather(wrong)
        if state is not None and all(one is None for one in told):
            if damaged:
                passed_over(damaged.values())
            return state
        damaged.update((name, one) for one in told if one)
    raise CheckpointNotFoundError(
        f"There is no whole checkpoint in {folder.path}. "
        + (" ".join(damaged.values()) or "Received a folder without any.")
        + " Leave ckpt_path out to train from the beginning."
    )


def _tried(
    folder: Folder, name: str, rank: int, *, weights_only: bool
) -> tuple[dict[str, Any] | None, str | None]:
    """Return a state, or what is wrong with it: nothing to tell where it has been deleted."""
    try:
        return folder.read(name, rank=rank, weights_only=weights_only), None
    except DamagedCheckpointError as error:
        return None, str(error) if folder.has(name) else ""


def best(folder: Folder, ranks: Ranks, *, weights_only: bool) -> dict[str, Any]:
    """Return the state with the best metric.

    Raises:
        CheckpointNotFoundError: no whole one has a metric.
        DamagedCheckpointError: it is not whole for one of the ranks.
    """

    def look() -> tuple[str, dict[str, str]]:
        whole, damaged = folder.manifests()
        name = best_of(whole, folder.path)
        if name is None:
            raise CheckpointNotFoundError(
                f"The best checkpoint is one with a monitored metric. Received {folder.path}, "
                f"which holds {', '.join(name for name, _ in whole) or 'no whole one'} without "
                "one. Save with ModelCheckpoint(monitor=...), or load 'last'."
            )
        return name, damaged

    name, damaged = on_first(ranks, look)
    if damaged:
        passed_over(damaged.values())
    return apiece(ranks, lambda: folder.read(name, rank=ranks.rank, weights_only=weights_only))


def moment(folder: Folder, base: str) -> tuple[bool, int]:
    """Return whether a checkpoint is a whole state, and its step; the least where there is none."""
    which = base.removesuffix(EXTENSION)
    name = found(folder, which) if which in (LAST, BEST) and not folder.has(base) else base
    for one, manifest in folder.manifests()[0]:
        if one == name:
            return manifest.kind == "full", -1 if manifest.step is None else manifest.step
    return False, -1


def found(folder: Folder, which: str) -> str | None:
    """Return the name of the newest checkpoint, or of the best, by the manifests."""
    if which == BEST:
        return best_of(folder.manifests()[0], folder.path)
    newest, _ = folder.newest_first(full=True)
    return newest[0][0] if newest else None


def best_of(whole: list[tuple[str, Manifest]], path: str) -> str | None:
    """Return the name of the one with the best metric, None where none has any.

    Raises:
        LookupError: they were chosen by different metrics.
    """
    scored = [
        (name, one) for name, one in whole if one.score is not None and one.score == one.score
    ]
    monitors = {(one.monitor, one.mode) for _, one in scored}
    if len(monitors) > 1:
        names = ", ".join(sorted(f"{monitor} ({mode})" for monitor, mode in monitors))
        raise LookupError(
            f"The best checkpoint is chosen by one metric. Received {path}, whose checkpoints "
            f"were chosen by {names}. Give the path of one."
        )
    if not scored:
        return None
    sign = 1 if scored[0][1].mode == "min" else -1
    return min(scored, key=lambda one: (sign * (one[1].score or 0.0), one[1].order))[0]
