"""One line of progress on a terminal, drawn by tqdm. Needs tqdm."""

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, final

from tqdm import tqdm

from lt_callbacks.bar import Bar, Place
from lt_callbacks.spelled_metrics import spelled

if TYPE_CHECKING:  # it is generic for type checkers only
    _Bar = tqdm[NoReturn]
else:
    _Bar = tqdm


@final
class TerminalBar(_Bar):
    """A bar that is drawn when it is told to, and at no other time.

    Args:
        place: what it is for.
        above: how many lines to leave free above the first bar.
    """

    # tqdm would start a thread that redraws bars which were not updated for ten seconds.
    monitor_interval = 0

    def __init__(self, place: Place, *, above: int = 0) -> None:
        self._metrics: Mapping[str, Any] = {}
        super().__init__(
            desc=place.description,
            total=place.total,
            initial=place.done,
            position=above + place.line,
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

    def draw(self, done: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Draw it with ``done`` batches done; without metrics, with those it had."""
        self.n = done
        if metrics is not None:
            self._metrics = metrics
        self.refresh()

    def finish(self, metrics: Mapping[str, Any] | None = None, *, stays: bool) -> None:
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


@final
class ForeignBar:
    """A tqdm that somebody else made, as a bar."""

    def __init__(self, made: Any, place: Place) -> None:
        self._made = made
        made.reset(place.total)
        made.n = made.initial = place.done
        if not made.desc:
            made.set_description_str(place.description, refresh=False)

    def draw(self, done: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Draw it with ``done`` batches done; without metrics, with those it had."""
        self._made.n = done
        if metrics is not None:
            self._made.set_postfix_str(spelled(metrics), refresh=False)
        self._made.refresh()

    def finish(self, metrics: Mapping[str, Any] | None = None, *, stays: bool) -> None:
        """Leave it on the screen, or not."""
        self.draw(self._made.n, metrics)
        self._made.leave = stays
        self._made.close()


def as_bar(made: Any, place: Place) -> Bar:
    """Return a tqdm as a bar: one of ours as it is."""
    is_bar = hasattr(made, "draw") and hasattr(made, "finish")
    bar: Bar = made if is_bar else ForeignBar(made, place)
    return bar


def write(text: str, *, file: Any = None, end: str = "\n") -> None:
    """Write lines to a file, standard output by default, above whatever bars there are."""
    tqdm.write(text, file=file or sys.stdout, end=end)
