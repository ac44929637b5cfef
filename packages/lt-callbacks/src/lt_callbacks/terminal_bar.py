"""One line of progress on a terminal, drawn by tqdm. Needs tqdm."""

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
        stays: whether it stays on the screen when it is closed.
    """

    # tqdm would start a thread that redraws bars which were not updated for ten seconds.
    monitor_interval = 0

    def __init__(self, description: str, *, total: int | None, line: int, stays: bool) -> None:
        super().__init__(
            desc=description,
            total=total,
            position=line,
            leave=stays,
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def restart(self, description: str, *, total: int | None, done: int = 0) -> None:
        """Begin anew, with ``done`` batches done before the clock started."""
        self.set_postfix_str("", refresh=False)
        self.set_description_str(description, refresh=False)
        self.initial = done
        self.reset(total)
        self.draw(done)

    def draw(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Draw it with ``done`` batches done; without metrics, with those it had."""
        self.n = done
        if metrics is not None:
            self.set_postfix_str(spelled(metrics), refresh=False)
        self.refresh()


def spelled(metrics: Mapping[str, float]) -> str:
    """Return metrics in one line, each number as wide as it was before so that nothing flickers.

    >>> spelled({"loss": 0.5, "acc": 1 / 3, "n": 1234.0})
    'loss=0.500, acc=0.333, n=1.23e+03'
    """
    return ", ".join(f"{name}={_number(value)}" for name, value in metrics.items())


def _number(value: float) -> str:
    return f"{float(value):#.3g}".removesuffix(".")


def write(text: str) -> None:
    """Write lines to standard output, above whatever bars there are."""
    tqdm.write(text, file=sys.stdout)


def can_encode(character: str, stream: Any) -> bool:
    """Return whether a stream can show a character."""
    try:
        character.encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
