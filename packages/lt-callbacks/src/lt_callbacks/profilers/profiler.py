"""Profiler: what all profilers have in common: one record for each run, and where reports go."""

import logging
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("lt_callbacks")


class Profiler(ABC):
    """Is told when actions begin and end, and reports on them. Abstract: write your own on it.

    A trainer begins a new record with each run, ends it with the run, also after an exception, and
    shows the report. Without a trainer, wrap actions in :meth:`profile` and call :meth:`describe`.

    Args:
        dirpath: the folder of reports; None for that of the trainer's logger.
        filename: writes the report to ``<stage>-<filename>-<rank>.txt`` in the folder, at the end
            of what is there. None writes it to standard output instead, on rank 0 alone.
    """

    def __init__(
        self, dirpath: str | os.PathLike[str] | None = None, filename: str | None = None
    ) -> None:
        self.dirpath, self.filename = dirpath, filename
        self._log_dir: str | os.PathLike[str] | None = None
        self._stage: str | None = None
        self._local_rank: int | None = None
        self._under_way = False

    @abstractmethod
    def start(self, action_name: str) -> None:
        """Note that an action begins."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """Note that an action ends."""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """Record what happens in a ``with`` block as an action."""
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def summary(self) -> str:
        """Return the report of the run under way, or of the last one; empty for none."""
        return ""

    def restart(self) -> None:  # noqa: B027 - a profiler without a record has none to forget
        """Forget the record of the run before. Called between two runs."""

    def setup(
        self,
        stage: str,
        local_rank: int | None = None,
        log_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Begin the record of a run. What was recorded before the first run belongs to it.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.
            local_rank: this process among all, from 0.
            log_dir: the folder of reports where ``dirpath`` is None.

        Raises:
            RuntimeError: a run is being recorded already.
        """
        if self._under_way:
            raise RuntimeError(
                f"A profiler records one run at a time. Received the beginning of {stage} while "
                f"{self._stage} is under way. Give each trainer a profiler of its own."
            )
        if self._stage is not None:
            self.restart()
        self._stage, self._local_rank, self._log_dir = stage, local_rank, log_dir
        self._under_way = True

    def watch(self, program: object) -> None:  # noqa: B027 - most have no use for it
        """Take a look at the program of the run. Called after :meth:`setup`."""

    def teardown(self, stage: str | None) -> None:
        """End the record of a run; :meth:`summary` still returns its report."""
        self._under_way = False

    def describe(self) -> None:
        """Write the report to its file, or to standard output where none was asked for."""
        report = self.summary()
        if not report:
            return
        if self.filename and (folder := self.folder()):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / self.name_of_file(".txt")
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{report}\n")
            log.info("%s report written to %s", type(self).__name__, path)
        elif not self._local_rank and sys.stdout is not None:
            encoding = sys.stdout.encoding or "utf-8"
            shown = report.encode(encoding, "backslashreplace").decode(encoding)
            sys.stdout.write(f"{shown}\n")

    def titled(self, report: str) -> str:
        """Return a report under its title: ``FIT Profiler Report``."""
        stage = "" if self._stage is None else f"{self._stage.upper()} "
        return f"{stage}Profiler Report\n\n{report.rstrip()}\n"

    def folder(self) -> Path | None:
        """Return the folder of reports, which need not exist; None where nobody named one."""
        folder = self.dirpath or self._log_dir
        return None if folder is None else Path(folder)

    def name_of_file(self, extension: str, action_name: str = "") -> str:
        """Return ``<stage>-<filename>-<rank>-<action>`` with an extension, as far as known."""
        rank = "" if self._local_rank is None else str(self._local_rank)
        parts = [self._stage or "", self.filename or "", rank, action_name]
        stem = "-".join(part for part in parts if part) or "profile"
        return re.sub(r"[^\w.\-\[\]]+", "_", stem) + extension
