"""TQDMProgressBar: how far a run is, on a terminal or in a notebook."""

import sys
from typing import Any

from lt_callbacks import extras
from lt_callbacks.bar import Bar, Place
from lt_callbacks.notebook import in_notebook
from lt_callbacks.progress_bar import ProgressBar, check_not_negative


class TQDMProgressBar(ProgressBar):
    """A :class:`~lt_callbacks.ProgressBar` drawn by tqdm.

    On a terminal it is tqdm's line, on standard error. In a notebook it is tqdm's widget, where
    ipywidgets is installed (``pip install 'lt-callbacks[notebook]'``). Anywhere else, in a file for
    instance, it is one plain line for each epoch.

    The bars themselves are made by the methods ``init_train_tqdm`` and so on, as in Lightning;
    override one to change its bar, or to return a tqdm of your own.

    Args:
        refresh_rate: draw only after multiples of this many batches; 0 to show nothing.
        process_position: how many pairs of lines to leave free above, for bars of your own.
        leave: whether the line of each epoch stays on the screen (Lightning's default is False),
            or only that of the last one.
        refresh_seconds: draw at most this often.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
        ValueError: a number is negative.
    """

    def __init__(
        self,
        refresh_rate: int = 1,
        process_position: int = 0,
        leave: bool = True,
        *,
        refresh_seconds: float = 0.1,
    ) -> None:
        extras.check("tqdm", wanted_by="TQDMProgressBar")
        super().__init__(refresh_rate, leave, refresh_seconds=refresh_seconds)
        check_not_negative("process_position", process_position)
        self.process_position = process_position
        self._in_notebook = False
        self._place = Place("train", "", None)

    def init_sanity_tqdm(self) -> Any:
        """Return the bar for the validation code that is tried out before training."""
        return self._made()

    def init_train_tqdm(self) -> Any:
        """Return the bar for an epoch. It is called for each of them."""
        return self._made()

    def init_validation_tqdm(self) -> Any:
        """Return the bar for a validation loop."""
        return self._made()

    def init_test_tqdm(self) -> Any:
        """Return the bar for a test loop."""
        return self._made()

    def init_predict_tqdm(self) -> Any:
        """Return the bar for a predict loop."""
        return self._made()

    def write(self, text: str, file: Any) -> None:
        """Write text that ends with a line to a file, above whatever bars there are."""
        _terminal().write(text, file=file, end="")

    def has_screen(self) -> bool:
        """Return whether standard error is a terminal, or a notebook shows it."""
        _terminal()
        self._in_notebook = in_notebook()
        return self._in_notebook or (sys.stderr is not None and sys.stderr.isatty())

    def open_bar(self, place: Place) -> Bar:
        """Return a new bar on the screen."""
        self._place = place
        makers = {
            "train": self.init_train_tqdm,
            "sanity": self.init_sanity_tqdm,
            "validation": self.init_validation_tqdm,
            "test": self.init_test_tqdm,
            "predict": self.init_predict_tqdm,
        }
        made: Bar = _terminal().as_bar(makers[place.kind](), place)
        return made

    def _made(self) -> Any:
        if self._in_notebook:
            return extras.load(
                "lt_callbacks.notebook_bar", extra="notebook", wanted_by="TQDMProgressBar"
            ).NotebookBar(self._place)
        return _terminal().TerminalBar(self._place, above=2 * self.process_position)


def _terminal() -> Any:
    return extras.load("lt_callbacks.terminal_bar", extra="tqdm", wanted_by="TQDMProgressBar")
