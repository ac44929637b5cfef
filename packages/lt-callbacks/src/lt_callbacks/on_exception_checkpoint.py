"""OnExceptionCheckpoint: when a fit fails, save the last state that was whole."""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, final

from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")


@final
class OnExceptionCheckpoint(Callback):
    """Saves a checkpoint when a fit ends by an exception, Ctrl-C included.

    An exception usually comes in the midst of a step, where a state is not whole: the batch has
    been read and not trained on. So a copy of the state is kept in the host's memory, renewed at
    safe points that are ``keep_every`` seconds apart, and the newest whole state is saved: that of
    the moment where the run is at a safe point, else the copy. Going on from it gives the same bits
    as a run that had been stopped there.

    A run that ends well removes the checkpoint that an earlier one left under this name.

    An exception comes on one rank, and a checkpoint takes all of them: with several processes use
    a ``ModelCheckpoint`` that saves every n steps.

    Args:
        dirpath: the folder of the checkpoint.
        filename: its name, without the extension.
        keep_every: seconds between two copies, 0 for one after each step. A copy costs the time to
            copy weights and optimizer state to the host.
        clock: returns seconds that never run backwards.

    Raises:
        ValueError: the file name is empty, or the seconds are negative.
    """

    FILE_EXTENSION: ClassVar[str] = ".ckpt"

    def __init__(
        self,
        dirpath: str | Path,
        filename: str = "on_exception",
        *,
        keep_every: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not filename:
            raise ValueError(
                "A checkpoint has a file name. Received filename=''. Give one, or leave it out."
            )
        if not keep_every >= 0:
            raise ValueError(
                f"keep_every is a number of seconds of at least 0. Received {keep_every!r}."
            )
        self.dirpath, self.filename, self.keep_every = dirpath, filename, keep_every
        self._clock = clock
        self._kept: Any = None
        self._kept_at = 0.0
        self._failed = False

    @property
    def ckpt_path(self) -> str:
        """Where the checkpoint is saved."""
        name = self.filename + self.FILE_EXTENSION
        if "://" in str(self.dirpath):  # a Path would make a folder "s3:" of a URL
            return f"{str(self.dirpath).rstrip('/')}/{name}"
        return str(Path(self.dirpath) / name)

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew.

        Raises:
            ValueError: there are several processes.
        """
        self._kept, self._failed = None, False
        if stage == "fit" and trainer.world_size > 1:
            raise ValueError(
                "OnExceptionCheckpoint works in one process: an exception comes on one rank, and "
                f"saving takes all. Received a run of {trainer.world_size}. Use ModelCheckpoint("
                "every_n_train_steps=...)."
            )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Keep a first copy."""
        self._keep(trainer)

    def on_safe_point(self, trainer: Trainer, pl_module: Any) -> None:
        """Renew the copy, if it is time."""
        if self._clock() - self._kept_at >= self.keep_every:
            self._keep(trainer)

    def _keep(self, trainer: Trainer) -> None:
        self._kept = None  # never two copies
        self._kept = _on_host(trainer.capture(copy=False))
        self._kept_at = self._clock()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save the newest whole state; before the first there is none."""
        self._failed = True
        if trainer.state.fn != "fit" or trainer.ends_at_once:
            return
        state = trainer.capture(copy=False) if trainer.at_safe_point else self._kept
        if state is not None:
            trainer.ports.store.save(state, self.ckpt_path)
            log.warning("saved %s after %r", self.ckpt_path, exception)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Remove the checkpoint of an earlier run that failed, if this fit ended well."""
        self._kept = None
        if stage == "fit" and not self._failed:
            with contextlib.suppress(LookupError):  # there is none
                trainer.ports.store.remove(self.ckpt_path)


def _on_host(state: Any) -> Any:
    """Return a copy of a state in the memory of the host."""
    if isinstance(state, dict):
        return {key: _on_host(part) for key, part in state.items()}
    if type(state) in (list, tuple):
        return type(state)(map(_on_host, state))
    return state.detach().to("cpu", copy=True) if hasattr(state, "detach") else state
