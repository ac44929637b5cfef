"""Two ranks, of which the second has a loss of NaN in the fifth batch, or a gradient of infinity.

Given are the ``root``, and the ``runs``: of each a name, its ``precision``, its ``on_nonfinite``,
and what is ``bad``, ``"loss"`` or ``"gradient"``. What a hand-written loop ends with that leaves
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


class Infinite(torch.autograd.Function):
    """Changes nothing but the gradient."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        return gradient[0] * float("inf")


def spoilt(loss: Tensor, bad: str) -> Tensor:
    return loss * float("nan") if bad == "loss" else Infinite.apply(loss)


class Model(lt.LTModule):
    def __init__(self, bad: str) -> None:
        super().__init__()
        self.bad = bad
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(self, batch: Tensor) -> Tensor:
        error = self.layers(batch) - batch.sum(1, keepdim=True)
        return error.square().mean() / 64  # so small that it fits, times the scale at the start

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        rank = self.trainer.global_rank
        loss = self.loss(batch[rank::2])
        return spoilt(loss, self.bad) if rank == 1 and batch_idx == BAD else loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Ranks(Callback):
    def __init__(self, name: str) -> None:
        self.name = name

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        what = f"{type(exception).__name__}: {exception}"
        experiment.note(f"{self.name} rank {trainer.global_rank} {what}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        progress = trainer.progress
        sum_of_all = sum(float(p.sum()) for p in pl_module.parameters())
        did = f"{progress.steps} steps, {progress.skipped_steps} skipped"
        experiment.note(f"{self.name} rank {trainer.global_rank} {did} {sum_of_all!r}")


def run(name: str, precision: str, on_nonfinite: str | None, bad: str) -> None:
    root = Path(given["root"], name)
    model = Model(bad)
    trainer = lt.Trainer(
        **{"accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_epochs": 1},
        use_distributed_sampler=False,
        precision=precision,
        on_nonfinite=on_nonfinite,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        callbacks=[ModelCheckpoint(root, "{step}", every_n_train_steps=1), Ranks(name)],
    )
    try:
        trainer.fit(model, batches)
    except FloatingPointError as error:
        experiment.note(f"{name} raised {error}")
    mixed = precision == "16-mixed"
    expected = by_hand(bad, mixed=mixed, leaves_out=not mixed or on_nonfinite == "rollback")
    torch.save({"found": model.state_dict(), "expected": expected}, f"{name}.pt")


def by_hand(bad: str, *, mixed: bool, leaves_out: bool) -> dict[str, Any]:
    model = Model(bad)
    optimizer = model.configure_optimizers()
    scaler = torch.amp.GradScaler("cpu", enabled=mixed)
    for index, batch in enumerate(batches):
        gradients = []
        if leaves_out and index == BAD:
            continue
        for rank in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16, enabled=mixed):
                loss = model.loss(batch[rank::2])
            if rank == 1 and index == BAD:
                loss = spoilt(loss, bad)
            scaler.scale(loss).backward()
            gradients.append([parameter.grad / 2 for parameter in model.parameters()])
        for parameter, one, other in zip(model.parameters(), *gradients, strict=True):
            parameter.grad = one + other
        scaler.step(optimizer)
        scaler.update()
    return model.state_dict()


for words in given["runs"]:
    run(**words)
