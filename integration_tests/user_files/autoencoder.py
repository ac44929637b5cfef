"""A denoising autoencoder: trained until it stops getting better, then used to embed."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import lt as pl
from lt.callbacks import Callback, EarlyStopping


class LitAutoEncoder(pl.LightningModule):
    def __init__(self, hidden: int = 32, latent: int = 3, noise: float = 0.1, lr: float = 0.02):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 64))

    def forward(self, x):
        return self.encoder(x.flatten(1))

    def _reconstruction_loss(self, batch, noise=0.0):
        (x,) = batch
        x = x.flatten(1)
        noisy = x + noise * torch.randn_like(x) if noise else x
        return nn.functional.mse_loss(self.decoder(self(noisy)), x)

    def training_step(self, batch, batch_idx):
        loss = self._reconstruction_loss(batch, noise=self.hparams.noise)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._reconstruction_loss(batch), prog_bar=True)

    def predict_step(self, batch, batch_idx):
        (x,) = batch
        return self(x)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"},
        }


class Curves(Callback):
    """Keeps what was logged in each epoch, and the learning rate it was trained with."""

    def __init__(self):
        self.epochs, self.lrs = [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.lrs.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append({name: v.item() for name, v in trainer.callback_metrics.items()})


def blobs() -> TensorDataset:
    """128 images of 8 x 8 pixels, each with one blob somewhere on it."""
    generator = torch.Generator().manual_seed(0)
    centres = 1 + 5 * torch.rand(128, 2, 1, 1, generator=generator)
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
    return TensorDataset(torch.exp(-(grid - centres).square().sum(1, keepdim=True) / 4))


def main():
    pl.seed_everything(42)
    train, val = random_split(blobs(), [96, 32])
    train_loader = DataLoader(train, batch_size=16, shuffle=True)
    val_loader = DataLoader(val, batch_size=20)

    model, curves = LitAutoEncoder(), Curves()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=30,
        gradient_clip_val=0.5,
        callbacks=[EarlyStopping("val_loss", patience=2, min_delta=0.002), curves],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, train_loader, val_loader)
    embeddings = trainer.predict(model, val_loader)
    return model, curves, torch.cat(embeddings)


if __name__ == "__main__":
    main()
