"""A file written for Lightning 1.0, as its introductions taught it, with one changed line.

Data, optimizer and steps are methods of the module; each epoch ends in a hook that receives what
the steps returned; ``trainer.test()`` is called by hand. Each method says when it is called, so
what is printed is the life of a run. The data are the digits that come with scikit-learn. Run it
with ``python examples/lightning_1_0.py``, and with ``--gpus 1`` on a GPU.
"""

from argparse import ArgumentParser

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split

import lt as pl  # was: import pytorch_lightning as pl


class LitDigits(pl.LightningModule):
    """A perceptron with one hidden layer for 8x8 images of digits."""

    def __init__(self, hidden=64, learning_rate=3e-3):
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)
        )

    def forward(self, x):
        return self.layers(x)

    # The data

    def prepare_data(self):
        print("prepare_data: a download would go here")
        load_digits()

    def setup(self, stage):
        images, labels = load_digits(return_X_y=True)
        digits = TensorDataset(torch.tensor(images / 16).float(), torch.tensor(labels))
        self.digits_train, self.digits_val, self.digits_test = random_split(
            digits, [1197, 300, 300], generator=torch.Generator().manual_seed(0)
        )

    def train_dataloader(self):
        print("train_dataloader")
        return DataLoader(self.digits_train, batch_size=64, shuffle=True)

    def val_dataloader(self):
        print("val_dataloader")
        return DataLoader(self.digits_val, batch_size=100)

    def test_dataloader(self):
        print("test_dataloader")
        return DataLoader(self.digits_test, batch_size=100)

    # Training

    def configure_optimizers(self):
        print("configure_optimizers")
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    # Validation: first a few batches to try the code out, then once in each epoch

    def validation_step(self, batch, batch_idx):
        x, y = batch
        scores = self(x)
        return {"loss": functional.cross_entropy(scores, y), "right": scores.argmax(1) == y}

    def validation_epoch_end(self, outputs):
        loss = torch.stack([output["loss"] for output in outputs]).mean()
        accuracy = torch.cat([output["right"] for output in outputs]).float().mean()
        self.log("val_loss", loss, prog_bar=True)
        self.log("val_acc", accuracy, prog_bar=True)
        when = "sanity check" if self.trainer.sanity_checking else f"epoch {self.current_epoch}"
        print(f"validation_epoch_end, {when}: {len(outputs)} outputs, val_acc {accuracy:.3f}")

    # The test

    def test_step(self, batch, batch_idx):
        x, y = batch
        return {"right": self(x).argmax(1) == y}

    def test_epoch_end(self, outputs):
        print(f"test_epoch_end: {len(outputs)} outputs")
        self.log("test_acc", torch.cat([output["right"] for output in outputs]).float().mean())


def main():
    parser = ArgumentParser()
    parser.add_argument("--gpus", type=int, default=0, help="how many; 0 for the CPU")
    parser.add_argument("--max_epochs", type=int, default=8)
    args = parser.parse_args()

    pl.seed_everything(0)
    model = LitDigits()
    trainer = pl.Trainer(gpus=args.gpus, precision=32, max_epochs=args.max_epochs, logger=False)
    trainer.fit(model)

    (scores,) = trainer.test()  # never called by fit
    print(f"Test accuracy: {scores['test_acc']:.4f}")


if __name__ == "__main__":
    main()
