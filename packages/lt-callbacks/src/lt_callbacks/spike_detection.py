"""SpikeDetection: end a run whose loss jumps, and note the batches to leave out."""

import json
from pathlib import Path
from typing import Any, Literal, final

from lt_callbacks.spike_rule import SpikeRule
from lt_callbacks.whole_file import write_whole
from lt_loop import Callback, Trainer


@final
class TrainingSpikeException(RuntimeError):  # noqa: N818 - Lightning's name
    """Raised on every rank when the loss of any rank jumped.

    Attributes:
        batch_idx: the index of the batch in its epoch.
    """

    def __init__(self, batch_idx: int, sentence: str = "") -> None:
        """Name the batch."""
        super().__init__(sentence or f"Training spike detected in batch {batch_idx}")
        self.batch_idx = batch_idx


@final
class SpikeDetection(Callback):
    """Raises :class:`TrainingSpikeException` when the training loss jumps, on all ranks at once.

    Before that, rank 0 writes the indices of the batch and of the one before it, which may have
    spoilt the weights, to a JSON file: a list to which each spike of a resumed run adds. What to do
    with it is the data set's business.

    The loss is read after every batch, which waits for the device; with several ranks they also
    agree after every batch.

    Args:
        mode: ``"min"`` where a smaller loss is better, ``"max"`` where a greater one is.
        window: how many of the last losses the running mean is taken of.
        warmup: batches at the start of each epoch whose losses are remembered and not judged.
        atol: a spike is at least this far from the running mean; None not to look at that.
        rtol: a spike is at least this many times the running mean away from it; None likewise.
        exclude_batches_path: the file, or the folder of a file ``skip_batches.json``; None for
            ``default_root_dir``.
        finite_only: whether a loss of NaN or infinity is a spike; else it is passed over.

    Attributes:
        bad_batches: the indices noted so far.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        mode: Literal["min", "max"] = "min",
        window: int = 10,
        warmup: int = 1,
        atol: float | None = None,
        rtol: float | None = 2.0,
        exclude_batches_path: str | Path | None = None,
        finite_only: bool = True,
    ) -> None:
        if type(warmup) is not int or warmup < 0:
            raise ValueError(f"warmup is a number of batches of at least 0. Received {warmup!r}.")
        self.rule = SpikeRule(
            mode=mode, window=window, atol=atol, rtol=rtol, finite_only=finite_only
        )
        self.warmup = warmup
        self.exclude_batches_path = exclude_batches_path
        self.bad_batches: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the last losses and the batches noted."""
        return {
            "last_val": self.rule.last,
            "losses": list(self.rule.losses),
            "bad_batches": list(self.bad_batches),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from saved losses."""
        self.rule.restart(state_dict["last_val"], state_dict["losses"])
        self.bad_batches = [int(index) for index in state_dict["bad_batches"]]

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew, if it is a fit."""
        if stage == "fit":
            self.rule.restart()
            self.bad_batches = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge the loss of the batch, if it has one.

        Raises:
            TrainingSpikeException: it is a spike, here or on another rank.
        """
        spike, loss = False, None
        if outputs:
            loss = float(outputs["loss"])
            spike = batch_idx >= self.warmup and self.rule.is_spike(loss)
        if trainer.world_size > 1:
            spike = trainer.ports.world.reduce([float(spike)], "max")[0] > 0
        if spike:
            self._note(trainer, batch_idx, loss)
        elif loss is not None:
            self.rule.remember(loss)

    def _note(self, trainer: Trainer, batch_idx: int, loss: float | None) -> None:
        self.bad_batches += [batch_idx - 1, batch_idx] if batch_idx else [batch_idx]
        path = self._path(trainer)
        if trainer.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(self.bad_batches))
        said = (
            "" if loss is None else f": a loss of {loss:.6g} after a mean of {self.rule.mean:.6g}"
        )
        raise TrainingSpikeException(
            batch_idx, f"Training spike detected in batch {batch_idx}{said}. See {path}"
        )

    def _path(self, trainer: Trainer) -> Path:
        path = Path(self.exclude_batches_path or trainer.default_root_dir)
        return path if path.suffix == ".json" else path / "skip_batches.json"
