"""CSVLogger: logged numbers in a file that any tool reads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from lt_callbacks.folder_logger import FolderLogger
from lt_callbacks.logger import OnError, on_rank_zero
from lt_callbacks.metrics_file import MetricsFile
from lt_callbacks.versioned_folder import VersionedFolder
from lt_loop import Trainer


@final
class CSVLogger(FolderLogger):
    """Writes ``metrics.csv`` and ``hparams.yaml`` into ``save_dir/name/version_0``, as Lightning.

    Each time something is logged there is a row: ``step``, ``epoch``, and a column for each name
    ever logged, in alphabetical order, empty where the row has no value. Values of one step that
    are logged at different moments (in training, at the end of validation) are rows of their own.

    A version that exists already is continued, never overwritten. A fit that goes on from a state
    in the same version takes away the rows that came after it; by the time of a state all rows
    before it are on disk.

    Args:
        save_dir: the folder of all experiments.
        name: the experiment, a folder in it; None for none.
        version: a number, or the name of a folder; None for the next number.
        prefix: what stands before each name, with a dash.
        flush_logs_every_n_steps: how many steps may pass until rows are written to disk. They are
            always written at the end of the run, also after an exception.
        on_error: what a run does when rows can't be written: ``"warn"``, keep them and try again
            later, or ``"raise"``.

    Raises:
        ValueError: the interval or the version is out of its range, or ``on_error`` is unknown.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
        *,
        on_error: OnError = "warn",
    ) -> None:
        folder = VersionedFolder(save_dir, name, version)
        super().__init__(folder, prefix=prefix, on_error=on_error)
        if flush_logs_every_n_steps < 1:
            raise ValueError(
                "flush_logs_every_n_steps is a number of steps of at least 1. "
                f"Received flush_logs_every_n_steps={flush_logs_every_n_steps}."
            )
        self._flush_every = flush_logs_every_n_steps
        self._file: MetricsFile | None = None
        self._reached: dict[str, Any] = {}
        self._rows = 0
        self._flushed_at = -1

    @property
    def metrics_file_path(self) -> str:
        """The file. It need not exist yet."""
        return os.path.join(self.log_dir, "metrics.csv")

    @property
    def experiment(self) -> MetricsFile:
        """The file, opened when first asked for."""
        if self._file is None:
            self._file = MetricsFile(self._folder.claim() / "metrics.csv")
        return self._file

    @on_rank_zero
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row of numbers, or tensors with one element.

        Args:
            metrics: name to number.
            step: the index of the optimizer step; None to count the rows.
        """
        step = self._rows if step is None else step
        self._rows += 1
        self.experiment.add({**self.prefixed(metrics), "step": step})
        if abs(step - self._flushed_at) >= self._flush_every:
            self.experiment.flush()
            self._flushed_at = step

    @on_rank_zero
    def save(self) -> None:
        """Write the rows logged so far to disk."""
        if self._file is not None:
            self._file.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the version, how many rows there are, and the step of the last."""
        if not self.writes:
            return {}
        state = super().state_dict()
        if self._file is None and not self._folder.is_new:
            self._open_existing()
        if self._file is None or self._file.last_step is None:
            return state | {"rows": 0, "step": -1}
        return state | {"rows": self._file.rows, "step": self._file.last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember how many rows there were, for a fit that goes on from there."""
        super().load_state_dict(state_dict)
        self._reached = {name: state_dict[name] for name in ("rows", "step")}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Forget the state of the run before."""
        super().setup(trainer, pl_module, stage)
        self._reached = {}

    def take_back(self, step: int) -> None:
        """Take away the rows that came after a state."""
        self._open_existing()
        if self._file is not None:
            self._file.cut(**({"rows": 0, "step": step - 1} | self._reached))

    def _open_existing(self) -> None:
        if self._file is None and Path(self.metrics_file_path).exists():
            self._file = MetricsFile(Path(self.metrics_file_path))
