"""A metric from every hook in which Lightning lets you log."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt as pl
from lt.loggers import CSVLogger


class LogEverywhere(pl.LightningModule):
    """Logs in each hook how many values it has logged so far."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.logged = 0

    def _log(self, name, **flags):
        self.logged += 1
        self.log(name, self.logged, **flags)

    def _log_both(self, name):
        self._log(name, on_step=True, on_epoch=True)

    # --- around the run and its epochs

    def on_train_start(self):
        self._log("on_train_start")

    def on_train_epoch_start(self):
        self._log("on_train_epoch_start")

    def on_train_epoch_end(self):
        self._log("on_train_epoch_end")

    # --- around each training batch

    def on_train_batch_start(self, batch, batch_idx):
        self._log_both("on_train_batch_start")

    def training_step(self, batch, batch_idx):
        self._log_both("training_step")
        x, y = batch
        loss = nn.functional.mse_loss(self.layer(x), y)
        self.log("loss", loss)
        return loss

    def on_before_zero_grad(self, optimizer):
        self._log_both("on_before_zero_grad")

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        self._log_both("optimizer_zero_grad")
        optimizer.zero_grad()

    def on_before_backward(self, loss):
        self._log_both("on_before_backward")

    def backward(self, loss):
        self._log_both("backward")
        loss.backward()

    def on_after_backward(self):
        self._log_both("on_after_backward")

    def on_before_optimizer_step(self, optimizer):
        self._log_both("on_before_optimizer_step")
        norms = [p.grad.norm() for p in self.parameters()]
        self.log("grad_norm", torch.stack(norms).norm(), prog_bar=True)

    def configure_gradient_clipping(
        self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None
    ):
        self._log_both("configure_gradient_clipping")
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        self._log_both("optimizer_step")
        optimizer.step(closure=optimizer_closure)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self._log_both("on_train_batch_end")

    # --- around validation and test

    def on_validation_start(self):
        self._log("on_validation_start")

    def on_validation_epoch_start(self):
        self._log("on_validation_epoch_start")

    def on_validation_batch_start(self, batch, batch_idx):
        self._log("on_validation_batch_start")

    def validation_step(self, batch, batch_idx):
        self._log_both("validation_step")

    def on_validation_batch_end(self, outputs, batch, batch_idx):
        self._log("on_validation_batch_end", reduce_fx="max")

    def on_validation_epoch_end(self):
        self._log("on_validation_epoch_end")

    def on_test_start(self):
        self._log("on_test_start")

    def on_test_epoch_start(self):
        self._log("on_test_epoch_start")

    def on_test_batch_start(self, batch, batch_idx):
        self._log("on_test_batch_start", reduce_fx=sum)

    def test_step(self, batch, batch_idx):
        self._log("test_step", batch_size=1)

    def on_test_batch_end(self, outputs, batch, batch_idx):
        self._log("on_test_batch_end", reduce_fx="min")

    def on_test_epoch_end(self):
        self._log("on_test_epoch_end")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class LogFromCallback(pl.Callback):
    """Logs through the module, as a callback does."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pl_module.log("callback/loss_squared", outputs["loss"] ** 2, on_epoch=True)

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("callback/epoch", trainer.current_epoch, reduce_fx="max")

    def on_validation_end(self, trainer, pl_module):
        trainer.logger.log_metrics({"callback/direct": 1.0}, step=trainer.global_step)


def samples() -> DataLoader:
    x = torch.linspace(-1, 1, 20).reshape(10, 2)
    return DataLoader(TensorDataset(x, x.sum(dim=1, keepdim=True)), batch_size=4)


def main(root="."):
    pl.seed_everything(1)
    model = LogEverywhere()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        gradient_clip_val=1.0,
        log_every_n_steps=1,
        callbacks=[LogFromCallback()],
        logger=CSVLogger(root),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, samples(), samples())
    fitted = dict(trainer.callback_metrics)
    (tested,) = trainer.test(model, samples(), verbose=False)
    return model, trainer, fitted, tested


if __name__ == "__main__":
    main()
