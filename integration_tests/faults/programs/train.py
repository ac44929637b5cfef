"""Train a line, save every step, and write down each save that was acknowledged.

Given are the folder, the words of ModelCheckpoint, how many steps to train, the note to write to,
and what to do before which step.
"""

import os
import resource
import signal
from typing import Any

import torch

from lt_checkpoint import ModelCheckpoint
from lt_loop import Callback, Trainer

given: dict[str, Any] = globals()["given"]
folder, note = given["folder"], given["note"]


class Line(torch.nn.Module):
    trainer: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 64)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(torch.dropout(batch, 0.5, True)).pow(2).mean()
        self.trainer.log("loss", loss.detach(), batch_size=1)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def happen(what: str) -> None:
    if what.startswith("limit"):
        size = int(what.split()[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    if what.endswith("default"):
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if what == "unlimited":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


class Notes(Callback):
    """Writes a line after each save: what is in it was acknowledged."""

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        pass

    def after_save_checkpoint(self, callback: ModelCheckpoint) -> None:
        self.write(f"saved {callback.last_model_path or callback.best_model_path}\n")

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, index: int) -> None:
        happen(given["do"].get(trainer.global_step, ""))

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        self.write(f"ended at {trainer.global_step}\n")

    def write(self, line: str) -> None:
        with open(note, "a", encoding="utf-8") as file:
            file.write(line)


torch.set_num_threads(1)
torch.manual_seed(1)
model = Line()
trainer = Trainer(
    accelerator="cpu",
    callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=1, **given["words"]), Notes()],
    logger=False,
    enable_progress_bar=False,
    max_steps=given["steps"],
    max_epochs=-1,
)
resume = "last" if os.path.isdir(folder) and os.listdir(folder) else None
trainer.fit(model, list(torch.ones(5, 4, 8)), ckpt_path=resume)
torch.save(model.state_dict(), f"{note}.pt")
