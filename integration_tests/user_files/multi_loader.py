"""One model, validated and tested on two domains at once."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt as pl

DOMAINS = ("photos", "sketches")


class DomainClassifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.accuracies = {domain: [] for domain in DOMAINS}

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def _evaluate(self, stage, batch, dataloader_idx):
        x, y = batch
        domain, logits = DOMAINS[dataloader_idx], self(x)
        accuracy = (logits.argmax(dim=1) == y).float().mean()
        self.accuracies[domain].append(accuracy)
        self.log(f"{stage}_loss", nn.functional.cross_entropy(logits, y))
        self.log(f"{stage}_acc/{domain}", accuracy, add_dataloader_idx=False)

    def _worst(self):
        worst = min(torch.stack(values).mean() for values in self.accuracies.values())
        for values in self.accuracies.values():
            values.clear()
        return worst

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self._evaluate("val", batch, dataloader_idx)

    def on_validation_epoch_end(self):
        self.log("val_acc/worst", self._worst())

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self._evaluate("test", batch, dataloader_idx)

    def on_test_epoch_end(self):
        self.log("test_acc/worst", self._worst())

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        x, _ = batch
        return self(x).softmax(dim=1)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.1, patience=0, threshold=0.02
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": scheduler,
            "monitor": "val_loss/dataloader_idx_1",
        }


def domain(seed: int, samples: int, shift: float = 0.0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 4, generator=generator)
    return TensorDataset(x, (x.sum(dim=1) > shift).long())


def loaders(seed: int) -> list[DataLoader]:
    photos, sketches = domain(seed, samples=30), domain(seed + 1, samples=14, shift=0.8)
    return [DataLoader(photos, batch_size=12), DataLoader(sketches, batch_size=8)]


def main():
    pl.seed_everything(11)
    model = DomainClassifier()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=5,
        limit_val_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train_loader = DataLoader(domain(0, samples=64), batch_size=16, shuffle=True)
    trainer.fit(model, train_loader, loaders(seed=1))
    validated = {name: value.item() for name, value in trainer.callback_metrics.items()}
    tables = trainer.test(model, loaders(seed=3), verbose=False)
    return model, validated, tables, trainer.predict(model, loaders(seed=5))


if __name__ == "__main__":
    main()
