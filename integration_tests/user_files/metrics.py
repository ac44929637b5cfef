"""torchmetrics in all the ways they are logged."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score, BinaryPrecision

import lt as pl


class Scored(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.train_acc = BinaryAccuracy()
        self.train_f1 = BinaryF1Score()
        self.val_loss = MeanMetric()
        self.val_scores = MetricCollection([BinaryAccuracy(), BinaryPrecision()], prefix="val/")
        self.by_hand = BinaryF1Score()

    def forward(self, x):
        return self.layer(x).squeeze(1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.train_acc(logits.sigmoid(), y)
        self.train_f1.update(logits.sigmoid(), y)
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        self.log("train_f1", self.train_f1, on_step=False, on_epoch=True)
        return nn.functional.binary_cross_entropy_with_logits(logits, y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.val_loss.update(
            nn.functional.binary_cross_entropy_with_logits(logits, y), weight=len(y)
        )
        self.log("val/loss", self.val_loss)
        self.val_scores.update(logits.sigmoid(), y)
        self.by_hand.update(logits.sigmoid(), y)

    def on_validation_epoch_end(self):
        self.log_dict(self.val_scores)
        self.log("val/f1", self.by_hand.compute())
        self.by_hand.reset()

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log_dict(self.val_scores(self(x).sigmoid(), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Watch(pl.Callback):
    """Notes the accuracy of each batch and all values of each epoch."""

    def __init__(self):
        self.steps, self.epochs = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append(trainer.callback_metrics["train_acc_step"].item())

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch:
            self._note(trainer)

    def on_fit_end(self, trainer, pl_module):
        self._note(trainer)

    def _note(self, trainer):
        self.epochs.append({name: v.item() for name, v in trainer.callback_metrics.items()})


def samples(seed: int) -> DataLoader:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(50, 3, generator=generator)
    return DataLoader(TensorDataset(x, (x.sum(dim=1) > 0.5).float()), batch_size=16)


def main():
    pl.seed_everything(6)
    model, watch = Scored(), Watch()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, samples(0), samples(1))
    (tested,) = trainer.test(model, samples(2), verbose=False)
    return model, watch, tested


if __name__ == "__main__":
    main()
