"""Train a small convolutional network on real handwritten digits, and test it.

The data are the 1797 scanned digits that come with scikit-learn: nothing is downloaded. Run it with
``python examples/digits.py``; it takes well under a minute on two CPU cores.
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import lt
from lt.callbacks import EarlyStopping, TQDMProgressBar
from lt.loggers import TensorBoardLogger


class Digits(lt.LTModule):
    """A convolutional classifier for 8x8 images of digits, with its data and its optimizer."""

    def __init__(self, learning_rate: float = 3e-3, batch_size: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * 4 * 4, 10),
        )

    def setup(self, stage: str) -> None:
        images, labels = load_digits(return_X_y=True)
        x = torch.from_numpy((images / 16.0).astype(np.float32)).reshape(-1, 1, 8, 8)
        parts = random_split(
            TensorDataset(x, torch.from_numpy(labels)),
            [1197, 300, 300],
            generator=torch.Generator().manual_seed(0),
        )
        self.train_set, self.val_set, self.test_set = parts

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        scores = self(images)
        self.log("val_loss", nn.functional.cross_entropy(scores, labels), prog_bar=True)
        self.log("val_accuracy", (scores.argmax(1) == labels).float().mean(), prog_bar=True)

    def test_step(self, batch, batch_idx):
        images, labels = batch
        self.log("test_accuracy", (self(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate)

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=300)

    def test_dataloader(self):
        return DataLoader(self.test_set, batch_size=300)


def main() -> None:
    """Fit, test, and say where the logs are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-epochs", type=int, default=30)
    parser.add_argument("--logs", default="lt_logs", help="where TensorBoard finds the curves")
    arguments = parser.parse_args()

    lt.seed_everything(42)
    logger = TensorBoardLogger(arguments.logs, name="digits")
    trainer = lt.Trainer(
        accelerator="cpu",
        max_epochs=arguments.max_epochs,
        log_every_n_steps=10,
        logger=logger,
        callbacks=[EarlyStopping("val_loss", patience=5), TQDMProgressBar()],
    )
    result = trainer.fit(Digits())
    (metrics,) = trainer.test(verbose=False)
    print(f"Training ended: {result.reason}, after {result.progress.steps} steps.")
    print(f"Test accuracy: {metrics['test_accuracy']:.4f}")
    print(f"Logs: {logger.log_dir} (look at them with: tensorboard --logdir {arguments.logs})")


if __name__ == "__main__":
    main()
