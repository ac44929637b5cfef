"""Logistic regression in NumPy, driven by the Trainer: no torch is imported or needed.

The backend is found by its name, once ``pip install ./examples/backends/numpy_backend`` has told
where it is. Early stopping and the CSV logger are those of every other run.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from lt_numpy import SGD, Loss, Parameter

from lt_callbacks import CSVLogger, EarlyStopping
from lt_loop import Trainer


class LogisticRegression:
    """Binary classification: p = sigmoid(x w + b), with the gradient worked out by hand."""

    trainer: Any = None

    def __init__(self, features: int) -> None:
        self.w, self.b = Parameter(np.zeros(features)), Parameter(np.zeros(1))

    def probability(self, x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(x @ self.w.value + self.b.value)))

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        x, y = batch
        p = self.probability(x)
        error = (p - y) / len(y)
        gradients = [(self.w, x.T @ error), (self.b, error.sum(keepdims=True))]
        loss = Loss(cross_entropy(p, y), gradients)
        self.trainer.log("train_loss", loss.value, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        p = self.probability(x)
        self.trainer.log("val_loss", cross_entropy(p, y))
        self.trainer.log("val_accuracy", np.mean((p > 0.5) == y))

    def configure_optimizers(self) -> SGD:
        return SGD([self.w, self.b], lr=0.02)


def cross_entropy(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of -log of the probability of what was right."""
    return float(-np.mean(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12)))


def main() -> None:
    """Make two clouds of points, and tell them apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1200).astype(float)
    x = rng.normal(size=(1200, 8)) + np.where(y[:, None] > 0, 0.8, -0.8)
    batches = [(x[i : i + 50], y[i : i + 50]) for i in range(0, 1200, 50)]
    logger = CSVLogger(".")
    trainer = Trainer(
        backend="numpy",
        max_epochs=100,
        gradient_clip_val=1.0,
        accumulate_grad_batches=2,
        callbacks=EarlyStopping("val_loss", patience=3),
        logger=logger,
        enable_checkpointing=False,  # that of lt-checkpoint, where it is installed, imports torch
        enable_progress_bar=False,
    )
    result = trainer.fit(LogisticRegression(8), batches[:20], batches[20:])
    print(f"backend {trainer.reasons['device']}")
    print(f"{result.reason} After {result.progress.epoch} epochs: {dict(result.metrics)}")
    with Path(logger.metrics_file_path).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["val_accuracy"]]
    print(f"{len(rows)} validations in metrics.csv, the last: {rows[-1]['val_accuracy']}")
    print(f"torch imported: {'torch' in sys.modules}")


if __name__ == "__main__":
    main()
