"""Ahead: looking for the next item of an iterator without taking it."""

from collections.abc import Iterator
from typing import Any, final

_END = object()
_NOTHING = object()


@final
class Ahead:
    """An iterator that can say whether the item it gave last was the last one.

    Only when it is asked does it read one item ahead. What fails then is raised when that item is
    asked for.

    >>> items = Ahead(iter("ab"))
    >>> [(item, items.ended()) for item in items]
    [('a', False), ('b', True)]
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._next: Any = _NOTHING
        self._failure: Exception | None = None

    def __iter__(self) -> "Ahead":
        return self

    def __next__(self) -> Any:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._next is _NOTHING:
            item = next(self._items, _END)
        else:
            item, self._next = self._next, _NOTHING
        if item is _END:
            self._next = _END
            raise StopIteration
        return item

    def ended(self) -> bool:
        """Return whether there is nothing more."""
        if self._next is _NOTHING and self._failure is None:
            try:
                self._next = next(self._items, _END)
            except Exception as failure:
                self._failure = failure
        return self._next is _END
