"""A stream without a length: validated and stopped by steps, accumulating over batches."""

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import lt as pl


class Sentences(IterableDataset):
    """Sentences of a tiny language, made on the fly: the next token is the last one plus two."""

    def __init__(self, seed: int, sentences: int):
        self.seed, self.sentences = seed, sentences

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.sentences):
            start = torch.randint(8, (), generator=generator)
            yield (start + 2 * torch.arange(6)) % 8


class NextToken(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 16)
        self.gru = nn.GRU(16, 16, batch_first=True)
        self.head = nn.Linear(16, 8)

    def forward(self, tokens):
        states, _ = self.gru(self.embedding(tokens))
        return self.head(states)

    def _loss(self, tokens):
        return nn.functional.cross_entropy(
            self(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()
        )

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.02)
        total = self.trainer.max_steps
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=total)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class Progress(pl.Callback):
    """Notes when the stream was validated, and with which result."""

    def __init__(self):
        self.validations, self.batches = [], []

    def on_train_start(self, trainer, pl_module):
        self.batches.append(trainer.num_training_batches)

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            loss = trainer.callback_metrics["val_loss"].item()
            self.validations.append((trainer.current_epoch, trainer.global_step, loss))


def main():
    pl.seed_everything(4)
    model, progress = NextToken(), Progress()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=10,
        accumulate_grad_batches=2,
        val_check_interval=4,
        limit_val_batches=2,
        check_val_every_n_epoch=None,
        callbacks=[progress],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train_loader = DataLoader(Sentences(seed=0, sentences=70), batch_size=10)
    val_loader = DataLoader(Sentences(seed=1, sentences=40), batch_size=16)
    trainer.fit(model, train_loader, val_loader)
    return model, trainer, progress


if __name__ == "__main__":
    main()
