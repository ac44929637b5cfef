"""Programs in plain Python that train nothing, and trainers for them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lt_loop import Trainer
from lt_loop.solo import DuckBackend


class Loss:
    def backward(self) -> None:
        pass


class Still:
    """An optimizer of nothing."""

    def step(self) -> None:
        pass

    def zero_grad(self) -> None:
        pass


class Scripted:
    """Logs what it is told: in epoch e the e-th of the values given for a name.

    Names that begin with ``val_`` are logged in validation, ``test_`` in test, others in training.
    """

    trainer: Any = None

    def __init__(self, **values: Sequence[float]) -> None:
        self.values = values

    def _log(self, *prefixes: str, **flags: Any) -> None:
        for name, values in self.values.items():
            known = [p for p in ("val_", "test_") if name.startswith(p)] or ["train_"]
            if known[0] in prefixes:
                epoch = min(self.trainer.current_epoch, len(values) - 1)
                self.trainer.log(name, float(values[epoch]), batch_size=1, **flags)

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        self._log("train_", on_step=True, on_epoch=True, prog_bar=True)
        return Loss()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._log("val_", prog_bar=True)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._log("test_")

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return batch

    def configure_optimizers(self) -> Still:
        return Still()


@pytest.fixture
def scripted() -> Callable[..., Scripted]:
    return Scripted


@pytest.fixture
def make_trainer() -> Callable[..., Trainer]:
    """A Trainer of lt-loop alone, whatever else is installed."""

    def make(*callbacks: Any, **words: Any) -> Trainer:
        words = {"max_epochs": 20, "num_sanity_val_steps": 0, "enable_progress_bar": None} | words
        if words["enable_progress_bar"] is None:
            words["enable_progress_bar"] = any(c.role == "progress_bar" for c in callbacks)
        return Trainer(backend=DuckBackend(), logger=False, callbacks=list(callbacks), **words)

    return make
