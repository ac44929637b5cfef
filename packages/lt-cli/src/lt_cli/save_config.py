"""SaveConfigCallback: the configuration of a run, beside its logs."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lt_loop import Callback, Trainer


class SaveConfigCallback(Callback):
    """Writes the configuration of a run into its folder when it begins; rank 0 does.

    A run without a logger has no folder of its own, and nothing is written, unless
    ``default_root_dir`` names one. Override :meth:`save_config` to keep it elsewhere.

    Args:
        parser: what wrote and reads the configuration.
        config: all of it, defaults included.
        config_filename: the name of the file.
        overwrite: whether a file of that name may be replaced.
        multifile: whether parts that were read from files of their own are written to such files.
        save_to_log_dir: False to write no file, and only call :meth:`save_config`.
    """

    def __init__(
        self,
        parser: ArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = True,
    ) -> None:
        self.parser = parser
        self.config = config
        self.config_filename = config_filename
        self.overwrite = overwrite
        self.multifile = multifile
        self.save_to_log_dir = save_to_log_dir
        self.already_saved = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Write the file.

        Raises:
            FileExistsError: there is one, and ``overwrite`` was not asked for.
        """
        if self.already_saved or not trainer.is_global_zero:
            return
        folder = trainer.log_dir if self.save_to_log_dir else None
        if folder is not None and self._is_its_own(trainer):
            self._write(Path(folder) / self.config_filename)
        self.save_config(trainer, pl_module, stage)
        self.already_saved = True

    def save_config(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Do nothing: for overriding. Called on rank 0, after the file was written.

        Args:
            trainer: whose run begins.
            pl_module: what it runs.
            stage: ``fit``, ``validate``, ``test`` or ``predict``.
        """

    def _is_its_own(self, trainer: Trainer) -> bool:
        """Tell whether the folder of the logs is the run's, not merely where it was started."""
        return bool(trainer.loggers) or Path(trainer.default_root_dir) != Path.cwd()

    def _write(self, path: Path) -> None:
        if path.exists() and not self.overwrite:
            raise FileExistsError(
                f"A configuration belongs to one run. Received {path}, which is there already. "
                "Give the run another folder, or save_config_kwargs={'overwrite': True}."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self.parser.save(
            self.config,
            path,
            skip_unset=False,
            overwrite=self.overwrite,
            multifile=self.multifile,
        )
