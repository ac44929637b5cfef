"""A network in JAX that tells two spirals apart, driven by the Trainer: no torch is needed.

The backend is found by its name, once ``pip install ./examples/backends/jax_backend`` has told
where it is. Early stopping and the CSV logger are those of every other run.
"""

import csv
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from lt_jax import Adam

from lt_callbacks import CSVLogger, EarlyStopping
from lt_loop import Trainer


class Network:
    """Three layers, whose last gives the logit of the second spiral."""

    trainer: Any = None

    def __init__(self, widths: tuple[int, ...] = (2, 64, 64, 1), seed: int = 0) -> None:
        keys = jax.random.split(jax.random.key(seed), len(widths) - 1)
        self.params = [
            {"w": jax.random.normal(key, (n, m)) * (2 / n) ** 0.5, "b": jnp.zeros(m)}
            for key, n, m in zip(keys, widths, widths[1:], strict=False)
        ]

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        loss, accuracy = scores(self.params, *batch)
        return {"loss": loss, "accuracy": accuracy}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trainer.log("train_loss", outputs["loss"], on_epoch=True)
        self.trainer.log("train_accuracy", outputs["accuracy"], on_epoch=True)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, accuracy = scores(self.params, *batch)
        self.trainer.log("val_loss", loss)
        self.trainer.log("val_accuracy", accuracy)

    def configure_optimizers(self) -> Adam:
        return Adam(self, lr=0.01)


@jax.jit
def scores(params: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the cross entropy, and the share that is right."""
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    logit = (x @ last["w"] + last["b"])[:, 0]
    loss = jnp.mean(jnp.logaddexp(0, logit) - y * logit)
    return loss, jnp.mean((logit > 0) == (y > 0.5))


def spirals(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of two spirals, one and a half turns long."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    turn = np.sqrt(rng.random(count)) * 3 * np.pi
    angle = turn + np.pi * y
    x = np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1) / 5
    return (x + 0.15 * rng.normal(size=x.shape)).astype("f"), y.astype("f")


def main() -> None:
    """Train until the validation loss falls no more."""
    x, y = spirals(2400, seed=0)
    batches = [(x[i : i + 100], y[i : i + 100]) for i in range(0, 2400, 100)]
    logger, network = CSVLogger("."), Network()
    trainer = Trainer(
        backend="jax",
        max_epochs=200,
        gradient_clip_val=1.0,
        callbacks=EarlyStopping("val_loss", patience=5),
        logger=logger,
        enable_checkpointing=False,  # that of lt-checkpoint, where it is installed, imports torch
        enable_progress_bar=False,
    )
    start = time.perf_counter()
    result = trainer.fit(network, batches[:20], batches[20:])
    seconds = time.perf_counter() - start
    print(f"backend {trainer.reasons['device']}")
    print(f"{result.reason} After {result.progress.epoch} epochs: {dict(result.metrics)}")
    with Path(logger.metrics_file_path).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["val_accuracy"]]
    print(f"{len(rows)} validations in metrics.csv, the last: {rows[-1]['val_accuracy']}")
    _, accuracy = scores(network.params, *spirals(2000, seed=1))
    print(f"test accuracy: {float(accuracy):.3f}, after {seconds:.1f} s")
    print(f"torch imported: {'torch' in sys.modules}")


if __name__ == "__main__":
    main()
