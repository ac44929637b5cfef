"""ModelSummary: what is being trained, before it is."""

import sys
from typing import Any, ClassVar, final

from lt_callbacks import extras
from lt_callbacks.summary import check_depth, summarize
from lt_loop import Callback, Trainer


@final
class ModelSummary(Callback):
    """Writes a summary of the module to standard output when a fit begins.

    It is the one of ``Trainer(enable_model_summary=True)``: layers, parameters, sizes; with an
    attribute ``example_input_array`` on the module also shapes and FLOPs. The same as a value
    comes from :func:`lt_callbacks.summarize`. The module's modes, buffers and the random
    generators are left as they were. Rank 0 only. A program that is no ``nn.Module`` has no
    summary.

    Args:
        max_depth: how deep nested submodules are shown; -1 for all, 0 for no summary.

    Raises:
        ModuleNotFoundError: torch is not installed.
        ValueError: the depth is less than -1.
    """

    role: ClassVar[str] = "model_summary"

    def __init__(self, max_depth: int = 1) -> None:
        extras.check("summary", wanted_by="ModelSummary")
        check_depth(max_depth)
        self.max_depth = max_depth

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Write it."""
        if not self.max_depth or not trainer.is_global_zero or sys.stdout is None:
            return
        if callable(getattr(pl_module, "named_modules", None)):
            sys.stdout.write(f"{summarize(pl_module, self.max_depth)}\n")
