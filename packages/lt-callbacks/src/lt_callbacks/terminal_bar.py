"""One line of progress on a terminal, drawn by tqdm. Needs tqdm."""

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, final

from tqdm import tqdm

if TYPE_CHECKING:  # it is generic for type checkers only
    _Bar = tqdm[NoReturn]
else:
    _Bar = tqdm


@final
class TerminalBar(_Bar):
    """A bar that is drawn when it is told to, and at no other time.

    Args:
        description: what stands to its left.
        total: batches at its end, None where that is not known.
        line: how many lines below the cursor.
        done: batches that were done before the clock started.
    """

    # tqdm would start a thread that redraws bars which were not updated for ten seconds.
    monitor_interval = 0

    def __init__(self, description: str, *, total: int | None, line: int, done: int = 0) -> None:
        self._metrics: Mapping[str, float] = {}
        super().__init__(
            desc=description,
            total=total,
            initial=done,
            position=line,
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def __str__(self) -> str:
        """Return the line, as long as the terminal is wide."""
        words = dict(self.format_dict)
        if words["ncols"] is None:
            room = math.inf
        else:  # of the ten columns of a bar that may have any width, one stays
            bare = self.format_meter(**words | {"ncols": None})
            room = words["ncols"] - len(bare) - len(", ") + (9 if words["total"] else 0)
        return self.format_meter(**words | {"postfix": spelled(self._metrics, room)})

    def draw(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Draw it with ``done`` batches done; without metrics, with those it had."""
        self.n = done
        if metrics is not None:
            self._metrics = metrics
        self.refresh()

    def finish(self, metrics: Mapping[str, float] | None = None, *, stays: bool) -> None:
        """Leave a line on the screen, or none; without metrics, with those it had.

        Where everything was done the line is without the bar, which leaves room for the metrics.
        """
        if metrics is not None:
            self._metrics = metrics
        if self.n == self.total:
            self.total = None
        line, self.leave = str(self), False
        self.close()
        if stays:  # written, because tqdm leaves it over whatever bars are above this one
            tqdm.write("\r" + line, file=self.fp)


def spelled(metrics: Mapping[str, float], room: float = math.inf) -> str:
    """Return metrics in one line, each number with three digits that count.

    Args:
        metrics: name to number; of ``name/dataloader_idx_0`` is shown ``name/0``.
        room: columns. What does not fit is left out: half a number would be another one.

    >>> spelled({"loss": 0.5, "acc": 1 / 3, "n": 1234.0})
    'loss=0.500, acc=0.333, n=1.23e+03'
    >>> spelled({"loss": 0.5, "acc": 1 / 3, "n": 1234.0}, room=30)
    'loss=0.500, acc=0.333, ...'
    """
    words = [
        f"{name.replace('/dataloader_idx_', '/')}={_number(value)}"
        for name, value in metrics.items()
    ]
    line = ", ".join(words)
    while words and len(line) > room:
        words.pop()
        line = ", ".join([*words, "..."])
    return line


def _number(value: float) -> str:
    return f"{float(value):#.3g}".removesuffix(".")


def write(text: str, *, file: Any = None, end: str = "\n") -> None:
    """Write lines to a file, standard output by default, above whatever bars there are."""
    tqdm.write(text, file=file or sys.stdout, end=end)


def can_encode(character: str, stream: Any) -> bool:
    """Return whether a stream can show a character."""
    try:
        character.encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
