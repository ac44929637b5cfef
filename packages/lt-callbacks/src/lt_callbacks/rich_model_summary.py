"""RichModelSummary: the summary of a module, in colours."""

from typing import Any, ClassVar, final

from lt_callbacks import extras
from lt_callbacks.summary import check_depth, summarize
from lt_loop import Callback, Trainer


@final
class RichModelSummary(Callback):
    """Writes what :class:`lt_callbacks.ModelSummary` does to rich's console.

    Args:
        max_depth: how deep nested submodules are shown; -1 for all, 0 for no summary.
        header_style: rich's style of the headings.

    Raises:
        ModuleNotFoundError: torch or rich is not installed.
        ValueError: the depth is less than -1.
    """

    role: ClassVar[str] = "model_summary"

    def __init__(self, max_depth: int = 1, *, header_style: str = "bold magenta") -> None:
        extras.check("rich", wanted_by="RichModelSummary")
        extras.check("summary", wanted_by="RichModelSummary")
        check_depth(max_depth)
        self.max_depth, self.header_style = max_depth, header_style

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Write it."""
        if not self.max_depth or not trainer.is_global_zero:
            return
        if callable(getattr(pl_module, "named_modules", None)):
            tables = extras.load(
                "lt_callbacks.rich_table", extra="rich", wanted_by="RichModelSummary"
            )
            tables.show(summarize(pl_module, self.max_depth), header_style=self.header_style)
