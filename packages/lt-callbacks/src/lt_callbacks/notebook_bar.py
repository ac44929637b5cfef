"""A bar in a notebook, drawn by tqdm. Needs tqdm and ipywidgets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, final

from tqdm.notebook import tqdm_notebook

from lt_callbacks.bar import Place
from lt_callbacks.spelled_metrics import spelled

if TYPE_CHECKING:  # it is generic for type checkers only
    _Bar = tqdm_notebook[NoReturn]
else:
    _Bar = tqdm_notebook


@final
class NotebookBar(_Bar):
    """A widget that is drawn when it is told to, and at no other time."""

    monitor_interval = 0  # no thread that redraws

    def __init__(self, place: Place) -> None:
        super().__init__(desc=place.description, total=place.total, initial=place.done)

    def draw(self, done: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Draw it with ``done`` batches done; without metrics, with those it had."""
        self.n = done
        if metrics is not None:
            self.set_postfix_str(spelled(metrics), refresh=False)
        self.refresh()

    def finish(self, metrics: Mapping[str, Any] | None = None, *, stays: bool) -> None:
        """Leave the widget as it is, red where not everything was done, or take it away."""
        self.draw(int(self.n), metrics)
        self.leave = stays
        self.close()
