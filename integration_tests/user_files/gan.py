"""A GAN in manual optimization: the critic steps on every batch, the generator on every second."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt as pl
from lt.loggers import CSVLogger


class GAN(pl.LightningModule):
    def __init__(self, latent: int = 4, lr: float = 0.01, b1: float = 0.5, every: int = 2):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent, 16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(
            nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Linear(16, 1)
        )

    def forward(self, z):
        return self.generator(z)

    def adversarial_loss(self, logits, real):
        target = torch.full_like(logits, 1.0 if real else 0.0)
        return nn.functional.binary_cross_entropy_with_logits(logits, target)

    def training_step(self, batch, batch_idx):
        (points,) = batch
        optimizer_g, optimizer_d = self.optimizers()
        z = torch.randn(len(points), self.hparams.latent).type_as(points)

        if batch_idx % self.hparams.every == 0:
            self.toggle_optimizer(optimizer_g)
            g_loss = self.adversarial_loss(self.discriminator(self(z)), real=True)
            self.manual_backward(g_loss)
            optimizer_g.step()
            optimizer_g.zero_grad()
            self.untoggle_optimizer(optimizer_g)
            self.log("g_loss", g_loss, prog_bar=True)

        self.toggle_optimizer(optimizer_d)
        real_loss = self.adversarial_loss(self.discriminator(points), real=True)
        fake_loss = self.adversarial_loss(self.discriminator(self(z).detach()), real=False)
        d_loss = (real_loss + fake_loss) / 2
        self.manual_backward(d_loss)
        self.clip_gradients(optimizer_d, gradient_clip_val=0.1, gradient_clip_algorithm="norm")
        optimizer_d.step()
        optimizer_d.zero_grad()
        self.untoggle_optimizer(optimizer_d)
        self.log_dict({"d_loss": d_loss, "d_loss/real": real_loss, "d_loss/fake": fake_loss})

    def on_train_epoch_end(self):
        scheduler_g, scheduler_d = self.lr_schedulers()
        scheduler_g.step()
        scheduler_d.step()
        self.log("lr_g", scheduler_g.get_last_lr()[0])

    def configure_optimizers(self):
        lr, betas = self.hparams.lr, (self.hparams.b1, 0.999)
        optimizer_g = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=betas)
        optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=betas)
        schedulers = [
            torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
            for optimizer in (optimizer_g, optimizer_d)
        ]
        return [optimizer_g, optimizer_d], schedulers


def circle() -> TensorDataset:
    angle = torch.linspace(0, 2 * torch.pi, 101)[:-1]
    return TensorDataset(torch.stack([angle.cos(), angle.sin()], dim=1))


def main(root="."):
    pl.seed_everything(7)
    model = GAN()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        log_every_n_steps=1,
        logger=CSVLogger(root),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(circle(), batch_size=20, shuffle=True))
    return model, trainer


if __name__ == "__main__":
    main()
