"""Two ranks, of which the second has a loss, or a gradient, that is not finite in the fifth batch.

Given are the ``root``, and the ``cases`` to try: what ``on_nonfinite`` is, the precision, and what
is bad: a loss of ``nan`` or ``inf``, or a ``gradient`` of infinity behind a finite loss. What a
hand-written loop ends with that leaves the batch out, or that a GradScaler leaves out, is written
beside what each run ends with.
"""

import logging
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
    def __init__(self, bad: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.bad = bad
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(self, batch: Tensor, *, is_bad: bool) -> Tensor:
        found = self.layers(batch)
        loss = (found - batch.sum(1, keepdim=True)).square().mean()
        if not is_bad:
            return loss
        # The root of nothing has a slope of infinity.
        root = (self.layers[0].bias[:1] * 0).sqrt().sum()
        return loss + root if self.bad == "gradient" else loss * float(self.bad)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        rank = self.trainer.global_rank
        return self.loss(batch[rank::2], is_bad=rank == 1 and batch_idx == BAD)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Ranks(Callback):
    def __init__(self, case: str) -> None:
        self.case = case

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        what = f"{type(exception).__name__}: {exception}"
        experiment.note(f"{self.case} rank {trainer.global_rank} {what}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        progress = trainer.progress
        sum_of_all = sum(float(p.detach().sum()) for p in pl_module.parameters())
        did = f"{progress.steps} steps, {progress.skipped_steps} skipped"
        experiment.note(f"{self.case} rank {trainer.global_rank} {did} {sum_of_all!r}")


class Notes(logging.Handler):
    """Writes down what was told about steps."""

    case = ""

    def emit(self, record: logging.LogRecord) -> None:
        if "not finite" in record.getMessage():
            experiment.note(f"{self.case} told {record.levelname} {record.getMessage()}")


notes = Notes()
logging.getLogger("lt_loop").addHandler(notes)


def run(action: str | None, precision: str, bad: str) -> None:
    case = f"{action}-{precision}-{bad}"
    notes.case = case
    root = Path(given["root"], case)
    model = Model(bad)
    trainer = lt.Trainer(
        **{"accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_epochs": 1},
        use_distributed_sampler=False,
        precision=precision,
        on_nonfinite=action,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        callbacks=[ModelCheckpoint(root, "{step}", every_n_train_steps=1), Ranks(case)],
    )
    try:
        trainer.fit(model, batches)
    except FloatingPointError as error:
        experiment.note(f"{case} raised {error}")
    expected = by_hand(bad, leaves_out=action is not None, mixed=precision == "16-mixed")
    torch.save({"found": model.state_dict(), "expected": expected}, f"{case}.pt")


def by_hand(bad: str, *, leaves_out: bool, mixed: bool) -> dict[str, Any]:
    model = Model(bad)
    optimizer = model.configure_optimizers()
    scaler = torch.amp.GradScaler("cpu", enabled=mixed)
    for index, batch in enumerate(batches):
        if index == BAD and leaves_out:
            continue
        gradients = []
        for rank in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16, enabled=mixed):
                loss = model.loss(batch[rank::2], is_bad=rank == 1 and index == BAD)
            scaler.scale(loss).backward()
            gradients.append([parameter.grad / 2 for parameter in model.parameters()])
        for parameter, one, other in zip(model.parameters(), *gradients, strict=True):
            parameter.grad = one + other
        scaler.step(optimizer)
        scaler.update()
    return model.state_dict()


for case in given["cases"]:
    run(*case)
