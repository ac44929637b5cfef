"""Waiting for workers: what is told of those that hang or die."""

from collections.abc import Callable, Generator, Iterator
from typing import Any

from lt_data.workers import explained


def watched(
    iterator: Iterator[Any], name: str, close: Callable[[], None]
) -> Generator[Any, None, None]:
    """Yield the batches of an iterator of a DataLoader.

    Args:
        iterator: what ``iter(loader)`` made.
        name: what to call the loader in messages.
        close: ends all its workers. It is called where one of them hangs or was killed: as long as
            torch knows of that one, it raises again whenever another process ends.

    Raises:
        RuntimeError: a worker hangs or was killed; it says whose, which, and what to do.
    """
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except RuntimeError as error:
            told = explained(error, iterator, name)
            if told is None:
                raise
            close()
            raise told from error
        yield batch
