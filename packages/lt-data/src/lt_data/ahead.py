"""One ahead: reading one item further than is handed out, to know which is the last."""

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def one_ahead(
    items: Iterator[Any], note: Callable[[], T]
) -> Generator[tuple[Any, bool, T], None, None]:
    """Yield each item, whether it is the last, and what was noted before the next was read.

    What fails in reading the next item is raised in its turn, after this one was handed out.

    >>> list(one_ahead(iter("ab"), lambda: None))
    [('a', False, None), ('b', True, None)]
    """
    item = next(items, _END)
    while item is not _END:
        noted, failure, following = note(), None, _END
        try:
            following = next(items, _END)
        except Exception as error:
            failure = error
        yield item, failure is None and following is _END, noted
        if failure is not None:
            raise failure
        item = following
