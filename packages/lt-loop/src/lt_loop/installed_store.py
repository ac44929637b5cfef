"""The store of a trainer that was given none: that of lt-checkpoint, found when it is needed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

from lt_loop.discovery import find
from lt_loop.ports import Store, World
from lt_loop.solo import NoStore


def newest(store: Store, names: Sequence[str]) -> str:
    """Return the name of the latest state, if a store can tell; else the first."""
    tell = getattr(store, "newest", None)
    return names[0] if tell is None else str(tell(names))


@final
class InstalledStore:
    """A Store that is found by its entry point, ``folder`` of ``lt.stores``, at its first use."""

    def __init__(self, root: str) -> None:
        """Remember the folder in which names without one are looked for."""
        self._root = root
        self._found: Store | None = None

    @property
    def _store(self) -> Store:
        if self._found is None:
            folder = find("lt.stores", "folder")
            self._found = folder(self._root) if folder else NoStore()
        return self._found

    def save(
        self,
        state: Mapping[str, Any],
        name: str,
        *,
        metrics: Mapping[str, float] | None = None,
        world: World | None = None,
    ) -> None:
        """Save a state under a name or a path.

        Raises:
            LookupError: lt-checkpoint is not installed.
        """
        self._store.save(state, name, metrics=metrics, world=world)

    def load(self, name: str, *, world: World | None = None) -> Mapping[str, Any]:
        """Return a saved state.

        Raises:
            LookupError: there is none of that name, or lt-checkpoint is not installed.
        """
        return self._store.load(name, world=world)

    def list(self) -> Iterable[str]:
        """Name the whole states, oldest first."""
        return self._store.list()

    def newest(self, names: Sequence[str]) -> str:
        """Return the name of the latest state, if the store can tell; else the first."""
        return newest(self._store, names)

    def remove(self, name: str) -> None:
        """Forget a state."""
        self._store.remove(name)
