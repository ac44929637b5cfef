"""Transfer learning: a frozen backbone under a new head, released after two epochs."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt as pl
from lt.callbacks import Callback


class Backbone(pl.LightningModule):
    """What somebody trained before: features, with the statistics of their data in them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.25)
        )

    def forward(self, x):
        return self.layers(x)


class Classifier(pl.LightningModule):
    def __init__(self, backbone: Backbone, lr: float = 0.05):
        super().__init__()
        self.save_hyperparameters(ignore=["backbone"])
        self.backbone = backbone
        self.backbone.freeze()
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.backbone(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(dim=1) == y).float().mean())

    def configure_optimizers(self):
        trainable = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.SGD(trainable, lr=self.hparams.lr, momentum=0.9)


class UnfreezeBackbone(Callback):
    def __init__(self, epoch: int, lr: float):
        self.epoch, self.lr = epoch, lr

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            pl_module.backbone.unfreeze()
            (optimizer,) = trainer.optimizers
            optimizer.add_param_group({"params": pl_module.backbone.parameters(), "lr": self.lr})


class Watch(Callback):
    """Notes, epoch by epoch, how the model does and whether its backbone trains."""

    def __init__(self):
        self.losses, self.accuracies, self.backbone_trains = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())

    def on_train_epoch_end(self, trainer, pl_module):
        self.accuracies.append(trainer.callback_metrics["val_acc"].item())
        self.backbone_trains.append(pl_module.backbone.training)


def three_classes(seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(60, 6, generator=generator)
    return TensorDataset(x, x[:, :3].argmax(dim=1))


def main():
    pl.seed_everything(3)
    model = Classifier(Backbone())
    watch = Watch()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        gradient_clip_val=1.0,
        callbacks=[UnfreezeBackbone(epoch=2, lr=0.01), watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train_loader = DataLoader(three_classes(0), batch_size=12, shuffle=True)
    trainer.fit(model, train_loader, DataLoader(three_classes(1), batch_size=25))
    return model, watch


if __name__ == "__main__":
    main()
