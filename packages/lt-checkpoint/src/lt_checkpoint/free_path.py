"""Paths that are not taken: a checkpoint gets a version where its name is."""

from collections.abc import Callable, Collection

from lt_checkpoint.committing import failed
from lt_checkpoint.errors import StoreUnavailableError
from lt_checkpoint.folder_store import FolderStore
from lt_checkpoint.places import is_url


def free_path(
    store: FolderStore,
    path_of: Callable[[int | None], str],
    *,
    first: int | None,
    under_way: Collection[str],
    replaced: Collection[str],
) -> str:
    """Return the path of a version that is not there yet.

    Args:
        store: what may hold it.
        path_of: returns the path of a version, or without one.
        first: the first version; None to take the path without one in any case.
        under_way: paths that others are saving to, and that are not there yet.
        replaced: paths whose checkpoints are not wanted any more once this one is there. Where
            something can be put in their place in one step, they are as good as free.

    Raises:
        SaveError: the store can't be asked. The save that this is for would have met it next.
    """
    path, version = path_of(None), first
    try:
        while version is not None and (
            path in under_way or (store.exists(path) and (path not in replaced or is_url(path)))
        ):
            path, version = path_of(version), version + 1
    except StoreUnavailableError as error:
        raise failed(path, error) from error
    return path
