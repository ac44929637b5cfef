"""CSVLogger: logged numbers in a file that any tool reads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from lt_callbacks.folder_logger import FolderLogger
from lt_callbacks.metrics_file import MetricsFile
from lt_callbacks.versioned_folder import VersionedFolder


@final
class CSVLogger(FolderLogger):
    """Writes ``metrics.csv`` and ``hparams.yaml`` into ``save_dir/name/version_0``, as Lightning.

    Each time something is logged there is a row: ``step``, ``epoch``, and a column for each name
    ever logged, in alphabetical order, empty where the row has no value. Values of one step that
    are logged at different moments (in training, at the end of validation) are rows of their own.

    A version that exists already is continued, never overwritten; a run that resumes at an earlier
    step than it had reached repeats the rows between.

    Args:
        save_dir: the folder of all experiments.
        name: the experiment, a folder in it; None for none.
        version: a number, or the name of a folder; None for the next number.
        prefix: what stands before each name, with a dash.
        flush_logs_every_n_steps: how many steps may pass until rows are written to disk. They are
            always written at the end of the run, also after an exception.

    Raises:
        ValueError: the interval or the version is out of its range.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(VersionedFolder(save_dir, name, version), prefix=prefix)
        if flush_logs_every_n_steps < 1:
            raise ValueError(
                "flush_logs_every_n_steps is a number of steps of at least 1. "
                f"Received flush_logs_every_n_steps={flush_logs_every_n_steps}."
            )
        self._flush_every = flush_logs_every_n_steps
        self._file: MetricsFile | None = None
        self._rows = 0
        self._flushed_at = -1

    @property
    def metrics_file_path(self) -> str:
        """The file. It need not exist yet."""
        return os.path.join(self.log_dir, "metrics.csv")

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row of numbers, or tensors with one element.

        Args:
            metrics: name to number.
            step: the index of the optimizer step; None to count the rows.
        """
        if self._file is None:
            self._file = MetricsFile(self._folder.claim() / "metrics.csv")
        step = self._rows if step is None else step
        self._rows += 1
        self._file.add({**self.prefixed(metrics), "step": step})
        if abs(step - self._flushed_at) >= self._flush_every:
            self._file.flush()
            self._flushed_at = step

    def save(self) -> None:
        """Write the rows logged so far to disk."""
        if self._file is not None:
            self._file.flush()

    def finalize(self, status: str) -> None:
        """Write the rows logged so far to disk.

        Args:
            status: how the run ended, in a word. It is not written anywhere.
        """
        self.save()
