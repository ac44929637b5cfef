"""ModelSummary: what is being trained, before it is."""

import sys
from typing import Any, ClassVar, final

from lt_callbacks import extras
from lt_callbacks.summary import check_depth, summarize
from lt_loop import Callback, Trainer


@final
class ModelSummary(Callback):
    """Writes a summary of the module when a fit begins: layers, parameters, sizes.

    With an attribute ``example_input_array`` on the module, also shapes and FLOPs; see
    :func:`lt_callbacks.summarize`, which returns the same as a value. The module's modes, buffers
    and the random generators are left as they were. Rank 0 only. A program that is no
    ``nn.Module`` has no summary.

    Args:
        max_depth: how deep nested submodules are shown; -1 for all, 0 for no summary.
        only_on_terminals: write to standard error, and only where it is a terminal, instead of to
            standard output. So does the one that ``Trainer`` takes by itself.

    Raises:
        ModuleNotFoundError: torch is not installed.
        ValueError: the depth is less than -1.
    """

    role: ClassVar[str] = "model_summary"

    def __init__(self, max_depth: int = 1, *, only_on_terminals: bool = False) -> None:
        extras.check("summary", wanted_by="ModelSummary")
        check_depth(max_depth)
        self.max_depth, self.only_on_terminals = max_depth, only_on_terminals

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Write it."""
        stream = sys.stderr if self.only_on_terminals else sys.stdout
        if not self.max_depth or not trainer.is_global_zero or stream is None:
            return
        if self.only_on_terminals and not stream.isatty():
            return
        if callable(getattr(pl_module, "named_modules", None)):
            stream.write(f"{summarize(pl_module, self.max_depth)}\n")
