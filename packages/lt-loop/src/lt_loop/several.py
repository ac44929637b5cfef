"""Several loaders: how a collection of loaders is told from one loader, and taken apart.

A dict, or any other mapping, of loaders is a collection. A list or tuple is one if every item is
a loader or, again, a collection; otherwise it is a list of batches, and one loader. In such a list
an item is a loader if it can be iterated and does not look like a batch. Batches are strings,
lists, tuples, sets, mappings, arrays (they have a ``shape``), and what can be moved to a device (it
has a method ``to``). Datasets and classes count as loaders too, to be refused by name rather than
be taken for batches.

Validation, test and prediction read the loaders of a collection one after another. Training reads
them as one, which is the feed's to do; lt-data keeps the same rule in ``lt_data.structure``, and a
test of the house holds the two together.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any


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


def one_by_one(loaders: Any) -> list[Any]:
    """Return the loaders that an evaluation reads one after another, in their order.

    A combined loader of mode ``sequential`` (an object with ``mode`` and ``flattened``, as lt-data
    has it) is a collection too. Of another mode it is one loader.

    >>> one_by_one({"a": range(3), "b": [range(4), range(5)]})
    [range(0, 3), range(0, 4), range(0, 5)]

    Raises:
        ValueError: there are none, or a combined loader has limits of its own.
    """
    if getattr(loaders, "mode", None) == "sequential" and hasattr(loaders, "flattened"):
        if getattr(loaders, "limits", None) is not None:
            raise ValueError(
                "In a run the trainer limits the batches of an epoch. Received a "
                f"{type(loaders).__name__} with limits={loaders.limits}. Use limit_val_batches and "
                "the like."
            )
        return list(loaders.flattened)
    if not is_collection(loaders):
        return [loaders]
    found = list(_leaves(loaders))
    if not found:
        raise ValueError(
            f"A collection of loaders holds at least one. Received {loaders!r}. Leave it out."
        )
    return found


def _leaves(loaders: Any) -> Iterator[Any]:
    for one in loaders.values() if isinstance(loaders, Mapping) else loaders:
        if is_collection(one):
            yield from _leaves(one)
        else:
            yield one


def described(loaders: Any) -> str:
    """Return what to call a loader or a collection of them in messages.

    >>> described({"a": range(3)}), described(range(3))
    ('dict of loaders', 'range')
    """
    kind = type(loaders).__name__
    return f"{kind} of loaders" if is_collection(loaders) else kind
