"""Two ranks, of which the second has a loss that is not finite in the fifth batch.

Given are the ``root``, and the ``actions`` to try. What a hand-written loop ends with that leaves
the batch out is written beside what each run ends with.
"""

from pathlib import Path
from typing import Any

import experiment
import torch
from torch import Tensor, nn

import lt
from lt_checkpoint import ModelCheckpoint
from lt_loop import Callback

given: dict[str, Any] = globals()["given"]
BAD = 4
batches = list(torch.randn(8, 8, 4, generator=torch.Generator().manual_seed(1)))


class Model(lt.LTModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(self, batch: Tensor) -> Tensor:
        return (self.layers(batch) - batch.sum(1, keepdim=True)).square().mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        rank = self.trainer.global_rank
        loss = self.loss(batch[rank::2])
        return loss * float("inf" if rank == 1 and batch_idx == BAD else 1)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Ranks(Callback):
    def __init__(self, action: str) -> None:
        self.action = action

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        what = f"{type(exception).__name__}: {exception}"
        experiment.note(f"{self.action} rank {trainer.global_rank} {what}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        progress = trainer.progress
        sum_of_all = sum(float(p.sum()) for p in pl_module.parameters())
        did = f"{progress.steps} steps, {progress.skipped_steps} skipped"
        experiment.note(f"{self.action} rank {trainer.global_rank} {did} {sum_of_all!r}")


def run(action: str) -> None:
    root = Path(given["root"], action)
    mixed = action == "16-mixed"
    model = Model()
    trainer = lt.Trainer(
        **{"accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_epochs": 1},
        use_distributed_sampler=False,
        precision="16-mixed" if mixed else None,
        on_nonfinite=None if mixed else action,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        callbacks=[ModelCheckpoint(root, "{step}", every_n_train_steps=3), Ranks(action)],
    )
    try:
        trainer.fit(model, batches)
    except FloatingPointError as error:
        experiment.note(f"{action} raised {error}")
    torch.save({"found": model.state_dict(), "expected": by_hand(mixed=mixed)}, f"{action}.pt")


def by_hand(*, mixed: bool) -> dict[str, Any]:
    model = Model()
    optimizer = model.configure_optimizers()
    scaler = torch.amp.GradScaler("cpu", enabled=mixed)
    for index, batch in enumerate(batches):
        gradients = []
        for rank in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16, enabled=mixed):
                loss = model.loss(batch[rank::2])
            bad = rank == 1 and index == BAD
            scaler.scale(loss * float("inf" if bad else 1)).backward()
            gradients.append([parameter.grad / 2 for parameter in model.parameters()])
        if index == BAD and not mixed:
            continue
        for parameter, one, other in zip(model.parameters(), *gradients, strict=True):
            parameter.grad = one + other
        scaler.step(optimizer)
        scaler.update()
    return model.state_dict()


for action in given["actions"]:
    run(action)
