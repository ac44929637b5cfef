"""BasePredictionWriter: the frame of a callback that saves predictions."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from lt_callbacks.spelling import suggestion
from lt_loop import Callback, Trainer

INTERVALS = ("batch", "epoch", "batch_and_epoch")


class BasePredictionWriter(Callback):
    """Hands predictions to a method of yours, batch by batch, at the end, or both.

    Abstract: subclass it and write :meth:`write_on_batch_end`, :meth:`write_on_epoch_end` or both.
    Written batch by batch, predictions need no memory: ``trainer.predict(...,
    return_predictions=False)``. Kept for the end, they are brought to the host's memory first. Each
    rank writes its own: put ``trainer.global_rank`` into the name of the file.

    ``batch_indices`` are the indices in the data set of the samples of a batch. They are known for
    a torch ``DataLoader`` that reads its data set in order, in one process; else they are None.

    Args:
        write_interval: ``"batch"``, ``"epoch"`` or ``"batch_and_epoch"``.

    Attributes:
        interval: the same.

    Raises:
        ValueError: the interval is none of these.
    """

    def __init__(
        self, write_interval: Literal["batch", "epoch", "batch_and_epoch"] = "batch"
    ) -> None:
        if write_interval not in INTERVALS:
            raise ValueError(
                f"write_interval is one of {', '.join(map(repr, INTERVALS))}. Received "
                f"write_interval={write_interval!r}.{suggestion(str(write_interval), INTERVALS)}"
            )
        self.interval = write_interval
        self._forget(0)

    def _forget(self, loaders: int) -> None:
        self._predictions: list[list[Any]] = [[] for _ in range(loaders)]
        self._kept_indices: list[list[Any]] = [[] for _ in range(loaders)]
        self._indices: list[Iterator[Sequence[int] | None]] = []

    def write_on_batch_end(  # noqa: PLR0913 - Lightning's arguments
        self,
        trainer: Trainer,
        pl_module: Any,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write what ``predict_step`` returned for one batch."""
        raise NotImplementedError(_missing(self, "write_on_batch_end"))

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write what ``predict_step`` returned for all batches.

        Args:
            trainer: the trainer.
            pl_module: the program.
            predictions: one for each batch; with several loaders, a list of such lists.
            batch_indices: for each loader, the indices of each batch.
        """
        raise NotImplementedError(_missing(self, "write_on_epoch_end"))

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check that the methods which will be called are written.

        Raises:
            NotImplementedError: one is not.
        """
        for word, name in (("batch", "write_on_batch_end"), ("epoch", "write_on_epoch_end")):
            inherited = getattr(type(self), name) is getattr(BasePredictionWriter, name)
            if stage == "predict" and word in self.interval and inherited:
                raise NotImplementedError(_missing(self, name))

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin anew."""
        loaders = trainer.predict_dataloaders
        several = isinstance(loaders, list) and len(loaders) == len(trainer.num_predict_batches)
        loaders = loaders if several else [loaders]
        self._forget(len(loaders))
        self._indices = [_indices(loader, trainer.world_size) for loader in loaders]

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the batch, keep it, or both."""
        indices = next(self._indices[dataloader_idx], None)
        if "batch" in self.interval:
            self.write_on_batch_end(
                trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx
            )
        if "epoch" in self.interval:
            self._predictions[dataloader_idx].append(_on_host(outputs))
            self._kept_indices[dataloader_idx].append(indices)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write everything that was kept, and let go of it."""
        kept, indices = self._predictions, self._kept_indices
        self._forget(0)
        if "epoch" in self.interval:
            predictions = kept[0] if len(kept) == 1 else kept
            self.write_on_epoch_end(trainer, pl_module, predictions, indices)


def _missing(writer: BasePredictionWriter, name: str) -> str:
    return (
        f"A prediction writer with write_interval={writer.interval!r} has a method {name}. "
        f"Received {type(writer).__name__} without. Write it."
    )


def _indices(loader: Any, world_size: int) -> Iterator[Sequence[int] | None]:
    """Yield the indices of each batch of a loader, as far as they can be known beforehand."""
    sampler = getattr(loader, "sampler", None)
    batches = getattr(loader, "batch_sampler", None)
    in_order = type(sampler).__name__ == "SequentialSampler"
    if world_size == 1 and in_order and getattr(batches, "sampler", None) is sampler:
        yield from batches  # type: ignore[misc]


def _on_host(value: Any) -> Any:
    """Return an output in the memory of the host."""
    if isinstance(value, dict):
        return {key: _on_host(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_on_host, value))
    if type(value) in (list, tuple):
        return type(value)(map(_on_host, value))
    return value.cpu() if hasattr(value, "cpu") else value
