"""What loggers that write into a versioned folder have in common: where, and when to close."""

import os
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lt_callbacks.hyperparameters import as_plain, as_yaml
from lt_callbacks.logger import Logger, OnError, on_rank_zero
from lt_callbacks.versioned_folder import VersionedFolder
from lt_callbacks.whole_file import write_whole
from lt_loop import Trainer


class FolderLogger(Logger, ABC):
    """A logger that writes into ``save_dir/name/version``. Abstract.

    No folder is made before there is something to write. Only rank 0 writes. A logger stays with
    its version: a test after a fit goes into the same folder.

    A state that a run can go on from says how far the logger had come, and by then everything is
    on disk. A fit that goes on from a state in the same version takes away what was recorded after
    it, so that no step has two points and none is missing.
    """

    def __init__(
        self, folder: VersionedFolder, *, prefix: str = "", on_error: OnError = "warn"
    ) -> None:
        super().__init__(prefix=prefix, on_error=on_error)
        self._folder = folder
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

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Learn whether this process writes, and on all ranks which version it is."""
        super().setup(trainer, pl_module, stage)
        if trainer.world_size > 1:
            chosen = self.version if self.writes else ""
            self._folder.adopt(trainer.ports.world.broadcast(chosen))

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint: loggers of different folders have different ones.

        The version is no part of it: a run may go on in another one.
        """
        folder = {"save_dir": self.save_dir, "name": self.name}
        return f"{type(self).__qualname__}{folder}"

    def state_dict(self) -> dict[str, Any]:
        """Return the version, where it is known."""
        return {"version": self.version} if self.writes and not self._folder.is_new else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the version of a run that happened in other processes.

        A run that goes on from a state does so in the version that the logger names.
        """
        if not self._in_run and "version" in state_dict:
            self._folder.adopt(state_dict["version"])

    @on_rank_zero
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        """Record hyper-parameters in ``hparams.yaml``, beside those recorded before.

        The engine hands out those that a module saved by ``save_hyperparameters()``.

        Args:
            params: name to value; what is not data is written as ``str(value)``.
        """
        self._hparams |= as_plain(params)
        write_whole(self._folder.claim() / "hparams.yaml", as_yaml(self._hparams))

    @abstractmethod
    def take_back(self, step: int) -> None:
        """Take away what was recorded after the state that a fit goes on from.

        Args:
            step: how many optimizer steps the state has behind it: the index of the next.
        """

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        """Write everything: a run that goes on from the state must find what came before it."""
        with self.tolerating("writing what came before a state"):
            self.save()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take away what was recorded after the state, in a fit that goes on from one.

        One that was to go on from the last checkpoint where there is none yet takes away all: a run
        that was killed before its first save may have left some.
        """
        if trainer.ckpt_path is not None and self.writes:
            with self.tolerating("taking away what was recorded after the state"):
                self.take_back(trainer.global_step)
