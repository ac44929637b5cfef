"""Preemption: a checkpoint when the process is told to end."""

import logging
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, final

from lt_callbacks.spelling import suggestion
from lt_loop import Callback, Preempted, Trainer

log = logging.getLogger("lt_callbacks")


@final
class Preemption(Callback):
    """Saves a checkpoint where a signal ends the run, and ends the process in time.

    The engine answers SIGTERM, SIGINT and the signals named here at the next safe point: all ranks
    stop at the same step, whichever was signalled. There this callback saves, before the teardown.
    What comes out of ``fit`` is ``lt_loop.Preempted`` (exit code 128 and the number of the signal),
    or KeyboardInterrupt for SIGINT. A second signal ends at once, without a checkpoint.

    With Slurm, ask for a signal some time before the limit: ``#SBATCH --signal=USR1@120``.

    Args:
        grace_seconds: how long after the signal the process may live; then the stacks of its
            threads are printed and it ends, so that a hung step does not use up the time in which
            the machine could be given back. None to wait for ever.
        signals: names of those that mean the end, beside SIGTERM and SIGINT.
        dirpath: where the checkpoint goes; None for the folder of the run's ModelCheckpoint, where
            ``ckpt_path="last"`` finds it, and without one for ``checkpoints`` in the root folder.
        on_preempted: called with the trainer and the path of the checkpoint once that is saved, on
            rank 0: to put the job into the queue again, say.

    Raises:
        ValueError: there is no such signal, or the time is not positive.
    """

    def __init__(
        self,
        grace_seconds: float | None = None,
        *,
        signals: Iterable[str] = ("SIGUSR1",),
        dirpath: str | Path | None = None,
        on_preempted: Callable[[Trainer, str], Any] | None = None,
    ) -> None:
        if grace_seconds is not None and not grace_seconds > 0:
            raise ValueError(
                "grace_seconds is a time above 0, or None to wait. "
                f"Received grace_seconds={grace_seconds}."
            )
        self.signals = tuple(signals)
        names = [one.name for one in signal.Signals]
        for name in self.signals:
            if name not in names and name != "SIGUSR1":  # which some systems lack
                raise ValueError(
                    f"signals are names of this system's signals. Received {name!r}."
                    f"{suggestion(name, names)}"
                )
        self.grace_seconds = grace_seconds
        self.dirpath, self.on_preempted = dirpath, on_preempted

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save where the run was stopped by a signal."""
        if not isinstance(exception, Preempted | KeyboardInterrupt):
            return
        if trainer.ends_at_once:
            return
        if not trainer.at_safe_point:
            log.warning("Preemption: stopped outside of a safe point, nothing is saved")
            return
        path = f"{self._folder(trainer)}/preempted-step={trainer.global_step}.ckpt"
        trainer.save_checkpoint(path)
        log.info("Preemption: saved %s", path)
        if self.on_preempted is not None and trainer.is_global_zero:
            self.on_preempted(trainer, path)

    def _folder(self, trainer: Trainer) -> str:
        folder = self.dirpath or getattr(trainer.checkpoint_callback, "dirpath", None)
        # No Path, which would make a folder "s3:" of a URL.
        return str(folder or f"{trainer.default_root_dir}/checkpoints").rstrip("/")
