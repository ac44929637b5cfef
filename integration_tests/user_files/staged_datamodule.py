"""A datamodule that downloads once, splits by stage, standardizes on the device, and cleans up."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import lt as pl


class Houses(pl.LightningDataModule):
    def __init__(self, root: str, batch_size: int = 16):
        super().__init__()
        self.save_hyperparameters()
        self.history = []

    @property
    def _files(self):
        return {split: Path(self.hparams.root, f"{split}.pt") for split in ("train", "test")}

    def prepare_data(self):
        self.history.append("prepare_data")
        for seed, file in enumerate(self._files.values()):
            if not file.exists():
                self.history.append(f"download {file.name}")
                generator = torch.Generator().manual_seed(seed)
                x = 50 + 20 * torch.randn(80, 3, generator=generator)
                y = x @ torch.tensor([[1.0], [0.5], [-0.5]])
                torch.save({"x": x, "y": y}, file)

    def _load(self, split):
        data = torch.load(self._files[split])
        return TensorDataset(data["x"], data["y"])

    def setup(self, stage):
        self.history.append(("setup", stage))
        if stage in ("fit", "validate"):
            generator = torch.Generator().manual_seed(42)
            self.train, self.val = random_split(self._load("train"), [64, 16], generator)
            x, y = self.train[:]
            self.statistics = x.mean(0), x.std(0), y.mean(0), y.std(0)
        if stage in ("test", "predict"):
            self.test = self._load("test")

    def _loader(self, name, dataset, **options):
        self.history.append(f"{name}_dataloader")
        return DataLoader(dataset, batch_size=self.hparams.batch_size, **options)

    def train_dataloader(self):
        return self._loader("train", self.train, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return self._loader("val", self.val)

    def test_dataloader(self):
        return self._loader("test", self.test)

    def predict_dataloader(self):
        return self._loader("predict", self.test)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        x_mean, x_std, y_mean, y_std = self.statistics
        x, y = batch
        return (x - x_mean) / x_std, (y - y_mean) / y_std

    def teardown(self, stage):
        self.history.append(("teardown", stage))


class Price(pl.LightningModule):
    def __init__(self, lr: float = 0.1):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage):
        """Sized by the data, which are known by now."""
        if stage == "fit":
            x, _ = self.trainer.datamodule.train[0]
            self.layer = nn.Linear(len(x), 1)

    def forward(self, x):
        return self.layer(x)

    def _loss(self, batch):
        x, y = batch
        return nn.functional.l1_loss(self(x), y)

    def training_step(self, batch, batch_idx):
        return self._loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self._loss(batch))

    def predict_step(self, batch, batch_idx):
        x, _ = batch
        return self(x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def main(root="."):
    pl.seed_everything(9)
    houses, model = Houses(root), Price()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=houses)
    (validated,) = trainer.validate(model, datamodule=houses, verbose=False)
    (tested,) = trainer.test(model, datamodule=houses, verbose=False)
    predicted = trainer.predict(model, datamodule=houses)
    return model, houses, {**validated, **tested}, predicted


if __name__ == "__main__":
    main()
