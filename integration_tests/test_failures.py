"""Whatever ends a run, it is torn down once and its logs are on disk."""

import csv
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

import lt
from lt.loggers import CSVLogger, TensorBoardLogger


class Failing(lt.LTModule):
    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.fails_at = fails_at
        self.torn_down: list[str] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == self.fails_at:
            raise ZeroDivisionError("in the step")
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, on_step=True)
        return loss

    def teardown(self, stage: str) -> None:
        self.torn_down.append(stage)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_an_exception_leaves_every_logger_flushed(tmp_path: Path) -> None:
    table = CSVLogger(tmp_path, name="csv", flush_logs_every_n_steps=10_000)
    board = TensorBoardLogger(tmp_path, name="board")
    module = Failing(fails_at=7)
    trainer = lt.Trainer(
        accelerator="cpu",
        max_epochs=1,
        log_every_n_steps=1,
        logger=[table, board],
        enable_progress_bar=False,
    )

    with pytest.raises(ZeroDivisionError, match="in the step") as caught:
        trainer.fit(module, [torch.ones(3, 2)] * 10)

    assert caught.traceback[-1].name == "training_step"
    assert module.torn_down == ["fit"]
    with Path(table.log_dir, "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(7))
    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(7))


SCRIPT = """
import sys, time
import torch
import lt
from lt.loggers import CSVLogger

class Slow(lt.LTModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
    def training_step(self, batch, batch_idx):
        if batch_idx == 3:
            print("ready", flush=True)
            time.sleep(1)
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, on_step=True)
        return loss
    def on_train_batch_end(self, outputs, batch, batch_idx):
        print("finished", batch_idx, flush=True)
    def teardown(self, stage):
        print("torn down", flush=True)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

lt.Trainer(
    accelerator="cpu", max_epochs=1, log_every_n_steps=1, enable_progress_bar=False,
    logger=CSVLogger(sys.argv[1], name="csv", flush_logs_every_n_steps=10_000),
).fit(Slow(), [torch.ones(3, 2)] * 1000)
"""


def test_ctrl_c_stops_at_the_next_safe_point(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        said = [next(line for line in lines if line == "ready\n")]
        process.send_signal(signal.SIGINT)
        said += list(lines)
        process.wait(timeout=60)
        errors = process.stderr.read() if process.stderr else ""

    assert said == ["ready\n", "finished 3\n", "torn down\n"]
    assert errors.strip().endswith("KeyboardInterrupt")
    assert process.returncode not in (0, 1)
    (table,) = tmp_path.glob("csv/version_0/metrics.csv")
    with table.open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [0, 1, 2, 3]


def test_an_optimizer_that_was_toggled_when_a_step_failed_is_toggled_back() -> None:
    class Toggling(Failing):
        automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()
            self.toggle_optimizer(optimizer)
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()
            self.untoggle_optimizer(optimizer)

    module = Toggling(fails_at=1)
    trainer = lt.Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False)
    batches = [torch.ones(2, 2)] * 2
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="in the step"):
            trainer.fit(module, batches)
