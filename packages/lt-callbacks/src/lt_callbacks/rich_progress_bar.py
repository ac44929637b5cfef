"""RichProgressBar: how far a run is, in colours."""

from collections.abc import Mapping
from typing import Any

from lt_callbacks import extras
from lt_callbacks.bar import Bar, Place
from lt_callbacks.progress_bar import ProgressBar
from lt_callbacks.rich_theme import RichProgressBarTheme
from lt_loop import Trainer

THEME = RichProgressBarTheme()


class RichProgressBar(ProgressBar):
    """A :class:`~lt_callbacks.ProgressBar` drawn by rich.

    It is on standard error, as all bars here. What a program prints meanwhile stands above it.
    Where there is no terminal and no notebook, it is one plain line for each epoch.

    Args:
        refresh_rate: draw only after multiples of this many batches; 0 to show nothing.
        leave: whether the line of each epoch stays on the screen (Lightning's default is False),
            or only that of the last one.
        theme: the styles of its parts.
        console_kwargs: arguments of rich's ``Console``: ``width``, ``force_terminal``, ``file``,
            ``stderr=False`` for standard output, ...
        refresh_seconds: draw at most this often.

    Raises:
        ModuleNotFoundError: rich is not installed.
        ValueError: a number is negative.
    """

    def __init__(
        self,
        refresh_rate: int = 1,
        leave: bool = True,
        theme: RichProgressBarTheme = THEME,
        console_kwargs: Mapping[str, Any] | None = None,
        *,
        refresh_seconds: float = 0.1,
    ) -> None:
        extras.check("rich", wanted_by="RichProgressBar")
        super().__init__(refresh_rate, leave, refresh_seconds=refresh_seconds)
        self.theme = theme
        self._console_arguments = dict(console_kwargs or {})
        self._console: Any = None
        self._screen: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be copied and pickled: all but what is on the screen."""
        return super().__getstate__() | {"_console": None, "_screen": None}

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Return rich's columns before the metrics. Override it to have others."""
        made: list[Any] = _bars().columns(self.theme)
        return made

    def write(self, text: str, file: Any) -> None:
        """Write text that ends with a line to a file; rich keeps it above the bars."""
        file.write(text)

    def has_screen(self) -> bool:
        """Return whether the console is a terminal or a notebook."""
        self._console, self._screen = _bars().console(self._console_arguments), None
        return bool(_bars().has_screen(self._console))

    def open_bar(self, place: Place) -> Bar:
        """Return a new bar on the screen."""
        if self._screen is None:
            columns = self.configure_columns(self.trainer)
            self._screen = _bars().RichScreen(self._console, columns, self.theme)
        made: Bar = self._screen.open(place)
        return made


def _bars() -> Any:
    return extras.load("lt_callbacks.rich_bars", extra="rich", wanted_by="RichProgressBar")
