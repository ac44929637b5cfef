"""A whole script whose trainer starts its processes by spawn, against one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SCRIPT = """
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt


class Net(lt.LTModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.unpicklable = (lambda: 0) if "lambda" in sys.argv else None

    def training_step(self, batch, batch_idx):
        return (self.layer(batch[0]) - 1).square().mean()

    def test_step(self, batch, batch_idx):
        self.log("far", (self.layer(batch[0]) - 1).square().mean(), sync_dist=True)

    def predict_step(self, batch, batch_idx):
        return self.layer(batch[0])

    def on_train_end(self):
        ranks = self.trainer.ports.world.gather(self.layer.weight.tolist())
        if any(of_one != ranks[0] for of_one in ranks):
            raise ArithmeticError("the ranks differ")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Counts(lt.Callback):
    steps = 0

    def on_train_batch_end(self, *_):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state_dict):
        self.steps = state_dict["steps"]


def ran(devices, strategy):
    torch.manual_seed(1)
    net, counts = Net(), Counts()
    data = TensorDataset(torch.randn(24, 6, dtype=torch.float64))
    trainer = lt.Trainer(
        accelerator="cpu", devices=devices, strategy=strategy, precision="64-true", max_epochs=2,
        callbacks=counts, logger=False, enable_progress_bar=False, enable_checkpointing=False,
    )
    trainer.fit(net, DataLoader(data, batch_size=4 // devices))
    (table,) = trainer.test(dataloaders=DataLoader(data, batch_size=4), verbose=False)
    predictions = torch.cat(trainer.predict(net, DataLoader(data, batch_size=4)))
    return net.layer.weight, counts.steps, trainer.global_step, table, predictions


if __name__ == "__main__":
    spawned = ran(2, "ddp_spawn")
    alone = ran(1, "auto")
    torch.testing.assert_close(spawned[0], alone[0])
    assert spawned[1:3] == alone[1:3] == (12, 12), (spawned, alone)
    torch.testing.assert_close(spawned[3]["far"], alone[3]["far"])
    torch.testing.assert_close(spawned[4].sum(0), alone[4].sum(0))
    print("as one process")
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "script.py", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_spawned_processes_learn_what_one_learns(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("as one process\n")


def test_what_cannot_be_pickled_is_told_before_anything_starts(tmp_path: Path) -> None:
    done = run(tmp_path, "lambda")
    assert done.returncode == 1
    assert "TypeError: Processes that are not forked get everything pickled" in done.stderr
    assert "<lambda>" in done.stderr
