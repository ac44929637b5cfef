"""Every part of an optimizer step taken over: warm-up, clipping by layer, skipped steps."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt as pl


class WarmUp(pl.LightningModule):
    """Warms the learning rate up by hand, and clips each layer for itself."""

    def __init__(self, lr: float = 0.1, warm_up: int = 6):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))
        self.calls = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.mse_loss(self.net(x), y)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        if self.trainer.global_step < self.hparams.warm_up:
            scale = (self.trainer.global_step + 1) / self.hparams.warm_up
            for group in optimizer.param_groups:
                group["lr"] = scale * self.hparams.lr
        optimizer.step(closure=optimizer_closure)
        self.calls.append((epoch, batch_idx, optimizer.param_groups[0]["lr"]))

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        optimizer.zero_grad(set_to_none=False)

    def backward(self, loss):
        loss.backward(retain_graph=True)

    def configure_gradient_clipping(
        self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None
    ):
        for layer in (self.net[0], self.net[3]):
            nn.utils.clip_grad_norm_(layer.parameters(), gradient_clip_val)

    def lr_scheduler_step(self, scheduler, metric):
        if self.trainer.global_step >= self.hparams.warm_up:
            scheduler.step()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.5)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        return [optimizer], [{"scheduler": scheduler, "interval": "epoch"}]


class EverySecond(pl.LightningModule):
    """Steps on every second batch; the gradients of the others are computed and dropped."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.batches = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.batches.append(batch_idx)
        return nn.functional.mse_loss(self.layer(x), y)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        if batch_idx % 2 == 0:
            optimizer.step(closure=optimizer_closure)
        else:
            optimizer_closure()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def samples() -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 3, generator=generator)
    return DataLoader(TensorDataset(x, x.prod(dim=1, keepdim=True)), batch_size=8, shuffle=True)


def train(model, **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, samples())
    return model, trainer


def warm_up():
    pl.seed_everything(2)
    return train(WarmUp(), gradient_clip_val=0.2, accumulate_grad_batches=3)


def every_second():
    pl.seed_everything(2)
    return train(EverySecond())


if __name__ == "__main__":
    warm_up()
    every_second()
