"""Logistic regression by LBFGS, which evaluates the loss of a batch several times."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt as pl


class LogisticRegression(pl.LightningModule):
    def __init__(self, num_classes: int = 3, l2_strength: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.linear = nn.Linear(5, num_classes)
        self.evaluations = 0

    def forward(self, x):
        return self.linear(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.evaluations += 1
        loss = nn.functional.cross_entropy(self(x), y)
        loss = loss + self.hparams.l2_strength * self.linear.weight.square().sum()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log_dict(
            {"val_loss": nn.functional.cross_entropy(self(x), y), "val_evals": self.evaluations}
        )

    def configure_optimizers(self):
        return torch.optim.LBFGS(
            self.parameters(), lr=0.5, max_iter=5, line_search_fn="strong_wolfe"
        )


class Losses(pl.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(outputs["loss"].item())


def irises() -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = torch.randn(90, 5, generator=generator) + nn.functional.one_hot(y, num_classes=5)
    return DataLoader(TensorDataset(x, y), batch_size=45)


def main():
    pl.seed_everything(5)
    model, losses = LogisticRegression(), Losses()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=losses,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, irises(), irises())
    return model, trainer, losses.seen


if __name__ == "__main__":
    main()
