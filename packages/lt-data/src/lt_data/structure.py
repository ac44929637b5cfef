"""Structure: collections of loaders, taken apart and put together again.

A dict, or any other mapping, of loaders is a collection. A list or tuple is one if every item is
a loader or, again, a collection; otherwise it is a list of batches, and one loader. In such a list
an item is a loader if it can be iterated and does not look like a batch. Batches are strings,
lists, tuples, sets, mappings, arrays (they have a ``shape``), and what can be moved to a device (it
has a method ``to``). Datasets and classes count as loaders too, to be refused by name rather than
be taken for batches.

The engine that asks ``lt_data`` for batches may need the same rule. lt-loop has it in
``lt_loop.several``; a test of the house holds the two together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, final


def is_collection(loaders: Any) -> bool:
    """Return whether something holds loaders rather than being one.

    >>> is_collection({"a": [1, 2]}), is_collection([range(3), range(4)])
    (True, True)
    >>> is_collection([[1, 2], [3, 4]]), is_collection(range(3))
    (False, False)
    """
    return isinstance(loaders, Mapping) or _holds_loaders(loaders)


def _holds_loaders(loaders: Any) -> bool:
    if not isinstance(loaders, list | tuple | Mapping):
        return False
    parts = list(loaders.values() if isinstance(loaders, Mapping) else loaders)
    return bool(parts) and all(_is_loader(one) or _holds_loaders(one) for one in parts)


def _is_loader(one: Any) -> bool:
    if isinstance(one, type):
        return True
    if isinstance(one, str | bytes | bytearray | list | tuple | Set | Mapping):
        return False
    if hasattr(one, "shape") or hasattr(one, "to"):
        return False
    return hasattr(type(one), "__iter__") or hasattr(type(one), "__getitem__")


Build = Callable[[Iterator[Any]], Any]


@final
@dataclass(frozen=True, slots=True)
class _Dict:
    """Builds a dict of what its parts build."""

    parts: tuple[tuple[Any, Build], ...]

    def __call__(self, values: Iterator[Any]) -> dict[Any, Any]:
        return {name: part(values) for name, part in self.parts}


@final
@dataclass(frozen=True, slots=True)
class _Row:
    """Builds a list, a tuple or a named tuple of what its parts build."""

    kind: Callable[[list[Any]], Any]
    parts: tuple[Build, ...]

    def __call__(self, values: Iterator[Any]) -> Any:
        return self.kind([part(values) for part in self.parts])


@final
@dataclass(frozen=True, slots=True)
class Structure:
    """A collection of loaders, taken apart.

    Attributes:
        places: where each loader stands in the collection, for messages: ``"['a'][0]"``.
        loaders: the loaders.
    """

    places: tuple[str, ...]
    loaders: tuple[Any, ...]
    _build: Build

    def build(self, values: Iterable[Any]) -> Any:
        """Make a collection of the same form out of one value for each loader."""
        return self._build(iter(values))


def structure_of(loaders: Any) -> Structure:
    """Take a collection apart. A list or tuple at the top is one, whatever it holds.

    >>> parts = structure_of({"a": range(3), "b": [range(4), range(5)]})
    >>> parts.places
    ("['a']", "['b'][0]", "['b'][1]")
    >>> parts.build("xyz")
    {'a': 'x', 'b': ['y', 'z']}
    """
    found: list[tuple[str, Any]] = []
    build = _take_apart(loaders, "", found, top=isinstance(loaders, list | tuple))
    places, flat = zip(*found, strict=True) if found else ((), ())
    return Structure(places, flat, build)


def _take_apart(
    loaders: Any, place: str, found: list[tuple[str, Any]], *, top: bool = False
) -> Build:
    """Note the loaders of a collection, and return what builds it again."""
    if not (top or is_collection(loaders)):
        found.append((place, loaders))
        return next
    if isinstance(loaders, Mapping):
        return _Dict(
            tuple(
                (name, _take_apart(one, f"{place}[{name!r}]", found))
                for name, one in loaders.items()
            )
        )
    parts = tuple(
        _take_apart(one, f"{place}[{number}]", found) for number, one in enumerate(loaders)
    )
    named = getattr(loaders, "_make", None)  # of a named tuple
    return _Row(named or (list if isinstance(loaders, list) else tuple), parts)
