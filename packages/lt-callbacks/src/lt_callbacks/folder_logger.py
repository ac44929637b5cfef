"""What loggers that write into a versioned folder have in common: where, and when to close."""

import os
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lt_callbacks.hyperparameters import as_plain, as_yaml
from lt_callbacks.versioned_folder import VersionedFolder
from lt_callbacks.whole_file import write_whole
from lt_loop import Callback, Trainer


class FolderLogger(Callback, ABC):
    """A logger that writes into ``save_dir/name/version``. Abstract.

    No folder is made before there is something to write. Only rank 0 writes. A logger stays with
    its version: a test after a fit goes into the same folder.
    """

    def __init__(self, folder: VersionedFolder, *, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._hparams: dict[str, Any] = {}

    @property
    def save_dir(self) -> str:
        """The folder of all experiments."""
        return self._folder.save_dir

    @property
    def name(self) -> str:
        """The experiment; empty where it has no folder of its own."""
        return self._folder.name

    @property
    def version(self) -> int | str:
        """The version; where it was left open, the next number, chosen when first asked for."""
        return self._folder.version

    @property
    def root_dir(self) -> str:
        """The folder of all versions."""
        return os.fspath(self._folder.root)

    @property
    def log_dir(self) -> str:
        """The folder this logger writes to. It need not exist yet."""
        return os.fspath(self._folder.path)

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        """Log what the engine hands out."""
        self.log_metrics(metrics, step)

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers, or tensors with one element.

        Args:
            metrics: name to number.
            step: the index of the optimizer step.
        """

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        """Record hyper-parameters in ``hparams.yaml``, beside those recorded before.

        The engine hands out those that a module saved by ``save_hyperparameters()``. Others are
        recorded on rank 0 only.

        Args:
            params: name to value; what is not data is written as ``str(value)``.
        """
        self._hparams |= as_plain(params)
        write_whole(self._folder.claim() / "hparams.yaml", as_yaml(self._hparams))

    @abstractmethod
    def save(self) -> None:
        """Write everything logged so far to disk."""

    @abstractmethod
    def finalize(self, status: str) -> None:
        """Write everything to disk and close the files; logging on opens them again.

        Args:
            status: how the run ended, in a word. It is not written anywhere.
        """

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Close the files: also after an exception."""
        self.finalize("finished")

    def prefixed(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Return the metrics as numbers, with the prefix before each name."""
        before = f"{self._prefix}-" if self._prefix else ""
        return {
            before + name: value if isinstance(value, int) else float(value)
            for name, value in metrics.items()
        }
