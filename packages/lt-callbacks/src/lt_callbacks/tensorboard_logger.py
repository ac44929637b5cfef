"""TensorBoardLogger: logged numbers as curves in TensorBoard."""

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

from lt_callbacks import extras
from lt_callbacks.folder_logger import FolderLogger
from lt_callbacks.hyperparameters import as_plain, flattened
from lt_callbacks.logger import NoExperiment, on_rank_zero
from lt_callbacks.spelling import suggestion
from lt_callbacks.versioned_folder import VersionedFolder
from lt_loop import Trainer

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

WRITER_ARGUMENTS = ("comment", "purge_step", "max_queue", "flush_secs", "filename_suffix")
"""What SummaryWriter takes beside the folder."""


@final
class TensorBoardLogger(FolderLogger):
    """Writes event files and ``hparams.yaml`` into ``save_dir/name/version_0``, as Lightning.

    Look at them with ``tensorboard --logdir save_dir``. Images, histograms and the like go to
    :attr:`experiment`, which is torch's ``SummaryWriter``. Neither torch nor tensorboard is
    imported, and no folder made, before something is logged.

    Args:
        save_dir: the folder of all experiments.
        name: the experiment, a folder in it; empty or None for none.
        version: a number, or the name of a folder; None for the next number.
        log_graph: whether a fit records the graph of the module, from its ``example_input_array``.
        default_hp_metric: whether :meth:`log_hyperparams` without metrics adds the metric
            ``hp_metric``, without which TensorBoard shows no hyper-parameters.
        prefix: what stands before each name, with a dash.
        sub_dir: a folder inside the version's.
        **kwargs: arguments of ``SummaryWriter``: ``max_queue`` (events), ``flush_secs``,
            ``purge_step``, ``filename_suffix``, ``comment``; and ``on_error``, what a run does when
            something can't be written: ``"warn"`` (default) or ``"raise"``.

    Raises:
        ModuleNotFoundError: torch or tensorboard is not installed.
        TypeError: an argument that neither this class nor SummaryWriter has.
        ValueError: a version out of its range, or an unknown ``on_error``.
    """

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        extras.check("tensorboard", wanted_by="TensorBoardLogger")
        on_error = kwargs.pop("on_error", "warn")
        for word in kwargs:
            if word not in WRITER_ARGUMENTS:
                raise TypeError(
                    "TensorBoardLogger takes Lightning's arguments and those of SummaryWriter "
                    f"({', '.join(WRITER_ARGUMENTS)}). Received {word}={kwargs[word]!r}."
                    f"{suggestion(word, (*WRITER_ARGUMENTS, *_OWN_ARGUMENTS))}"
                )
        folder = VersionedFolder(save_dir, name, version, sub_dir=sub_dir)
        super().__init__(folder, prefix=prefix, on_error=on_error)
        self._log_graph = log_graph
        self._default_hp_metric = default_hp_metric
        self._writer_arguments = kwargs
        self._experiment: SummaryWriter | None = None
        self._goes_on = False

    @property
    def sub_dir(self) -> str | None:
        """The folder inside the version's, None for none."""
        return self._folder.sub_dir or None

    @property
    def experiment(self) -> "SummaryWriter":
        """Torch's SummaryWriter, opened when first asked for and closed when the run ends.

        Ask for it each time: after a run it is a new one, which you close with :meth:`finalize`.
        On ranks that do not write it is an object that accepts everything and does nothing.
        """
        if not self.writes:
            return cast("SummaryWriter", NoExperiment())
        if self._experiment is None:
            folder = os.fspath(self._folder.claim())
            self._experiment = _event_files().SummaryWriter(folder, **self._writer_arguments)
        return self._experiment

    @on_rank_zero
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a point to each curve.

        Args:
            metrics: name to number, or to a tensor with one element.
            step: the index of the optimizer step.
        """
        _event_files().write_scalars(self.experiment, self.prefixed(metrics), step)

    @on_rank_zero
    def log_hyperparams(
        self,
        params: Mapping[str, Any] | Namespace,
        metrics: Mapping[str, Any] | float | None = None,
        step: int | None = None,
    ) -> None:
        """Record hyper-parameters, in ``hparams.yaml`` and for TensorBoard's tab HPARAMS.

        The engine hands out those that a module saved by ``save_hyperparameters()``.

        Args:
            params: name to value; mappings, namespaces and dataclasses in it are flattened to
                ``outer/inner``, and what is no number, bool or string is written as ``str(value)``.
            metrics: the scalars to compare runs by; a number is that of ``hp_metric``.
            step: the step of the metrics.
        """
        super().log_hyperparams(params)
        placeholder = metrics is None
        if metrics is None:
            metrics = {"hp_metric": -1.0} if self._default_hp_metric else {}
        elif not isinstance(metrics, Mapping):
            metrics = {"hp_metric": float(metrics)}
        if not metrics:
            return
        if not (placeholder and self._has_events()):  # else it has this point already
            self.log_metrics(metrics, step)
        numbers = {name: float(value) for name, value in metrics.items()}
        flat = dict(flattened(as_plain(params)))
        _event_files().write_hyperparameters(self.experiment, flat, numbers, step)

    @on_rank_zero
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Record the graph of a model for TensorBoard's tab GRAPHS; only with ``log_graph=True``.

        The model is traced in evaluation mode, without gradients, and with the random generators
        put back afterwards, so that a training is the same with and without it.

        Args:
            model: the module.
            input_array: a tensor, or a tuple of the arguments of ``forward``; None for the model's
                ``example_input_array``.

        Raises:
            ValueError: there is no input, or it is neither tensor nor tuple.
        """
        if not self._log_graph:
            return
        if input_array is None:
            input_array = getattr(model, "example_input_array", None)
        _event_files().write_graph(self.experiment, model, input_array)

    @on_rank_zero
    def save(self) -> None:
        """Write everything logged so far to disk."""
        if self._experiment is not None:
            self._experiment.flush()

    @on_rank_zero
    def finalize(self, status: str) -> None:
        """Write everything to disk and close the file; logging on opens another one.

        Args:
            status: how the run ended, in a word. It is not written anywhere.
        """
        if self._experiment is not None:
            self._experiment.flush()
            self._experiment.close()
            self._experiment = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Forget the run before."""
        super().setup(trainer, pl_module, stage)
        self._goes_on = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        """Remember that the run goes on from a state."""
        self._goes_on = True

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take away what came after the state of a fit that goes on, and record the graph."""
        super().on_train_start(trainer, pl_module)
        with self.tolerating("recording the graph"):
            self.log_graph(pl_module)

    def take_back(self, step: int) -> None:
        """Let TensorBoard hide the points at this step and later ones, which are in older files."""
        if self._has_events():
            self.finalize("")  # so that what hides them is in a file after theirs
            _event_files().write_restart(self.experiment, step)

    def _has_events(self) -> bool:
        """Whether somebody wrote event files into the folder before this run."""
        return bool(self._goes_on and list(self._folder.path.glob("events.out.tfevents.*")))


_OWN_ARGUMENTS = (
    *("name", "version", "log_graph", "default_hp_metric", "prefix", "sub_dir", "on_error"),
)


def _event_files() -> Any:
    return extras.load(
        "lt_callbacks.event_files", extra="tensorboard", wanted_by="TensorBoardLogger"
    )
