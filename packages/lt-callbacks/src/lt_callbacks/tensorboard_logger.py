"""TensorBoardLogger: logged numbers as curves in TensorBoard."""

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from lt_callbacks import extras
from lt_callbacks.folder_logger import FolderLogger
from lt_callbacks.hyperparameters import as_plain, flattened
from lt_callbacks.spelling import suggestion
from lt_callbacks.versioned_folder import VersionedFolder

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
        log_graph: not served; False.
        default_hp_metric: whether :meth:`log_hyperparams` without metrics adds the metric
            ``hp_metric``, without which TensorBoard shows no hyper-parameters.
        prefix: what stands before each name, with a dash.
        sub_dir: a folder inside the version's.
        **kwargs: arguments of ``SummaryWriter``: ``max_queue`` (events), ``flush_secs``,
            ``purge_step``, ``filename_suffix``, ``comment``.

    Raises:
        ModuleNotFoundError: torch or tensorboard is not installed.
        TypeError: an argument that neither this class nor SummaryWriter has.
        ValueError: ``log_graph=True``, or a version out of its range.
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
        if log_graph:
            raise ValueError(
                "TensorBoardLogger does not draw the graph by itself. Received log_graph=True. "
                "Call logger.experiment.add_graph(model, example_input) instead."
            )
        for word in kwargs:
            if word not in WRITER_ARGUMENTS:
                raise TypeError(
                    "TensorBoardLogger takes Lightning's arguments and those of SummaryWriter "
                    f"({', '.join(WRITER_ARGUMENTS)}). Received {word}={kwargs[word]!r}."
                    f"{suggestion(word, (*WRITER_ARGUMENTS, *_OWN_ARGUMENTS))}"
                )
        folder = VersionedFolder(save_dir, name, version, sub_dir=sub_dir)
        super().__init__(folder, prefix=prefix)
        self._default_hp_metric = default_hp_metric
        self._writer_arguments = kwargs
        self._experiment: SummaryWriter | None = None

    @property
    def sub_dir(self) -> str | None:
        """The folder inside the version's, None for none."""
        return self._folder.sub_dir or None

    @property
    def experiment(self) -> "SummaryWriter":
        """Torch's SummaryWriter, opened when first asked for and closed when the run ends.

        Ask for it each time: after a run it is a new one, which you close with :meth:`finalize`.
        Ask for it on rank 0 only.
        """
        if self._experiment is None:
            folder = os.fspath(self._folder.claim())
            self._experiment = _event_files().SummaryWriter(folder, **self._writer_arguments)
        return self._experiment

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a point to each curve.

        Args:
            metrics: name to number, or to a tensor with one element.
            step: the index of the optimizer step.
        """
        _event_files().write_scalars(self.experiment, self.prefixed(metrics), step)

    def log_hyperparams(
        self,
        params: Mapping[str, Any] | Namespace,
        metrics: Mapping[str, Any] | float | None = None,
        step: int | None = None,
    ) -> None:
        """Record hyper-parameters, in ``hparams.yaml`` and for TensorBoard's tab HPARAMS.

        The engine hands out those that a module saved by ``save_hyperparameters()``. Others are
        recorded on rank 0 only.

        Args:
            params: name to value; mappings, namespaces and dataclasses in it are flattened to
                ``outer/inner``, and what is no number, bool or string is written as ``str(value)``.
            metrics: the scalars to compare runs by; a number is that of ``hp_metric``.
            step: the step of the metrics.
        """
        super().log_hyperparams(params)
        if metrics is None:
            metrics = {"hp_metric": -1.0} if self._default_hp_metric else {}
        elif not isinstance(metrics, Mapping):
            metrics = {"hp_metric": float(metrics)}
        if not metrics:
            return
        self.log_metrics(metrics, step)
        numbers = {name: float(value) for name, value in metrics.items()}
        flat = dict(flattened(as_plain(params)))
        _event_files().write_hyperparameters(self.experiment, flat, numbers, step)

    def save(self) -> None:
        """Write everything logged so far to disk."""
        if self._experiment is not None:
            self._experiment.flush()

    def finalize(self, status: str) -> None:
        """Write everything to disk and close the file; logging on opens another one.

        Args:
            status: how the run ended, in a word. It is not written anywhere.
        """
        if self._experiment is not None:
            self._experiment.flush()
            self._experiment.close()
            self._experiment = None


_OWN_ARGUMENTS = ("name", "version", "log_graph", "default_hp_metric", "prefix", "sub_dir")


def _event_files() -> Any:
    return extras.load(
        "lt_callbacks.event_files", extra="tensorboard", wanted_by="TensorBoardLogger"
    )
