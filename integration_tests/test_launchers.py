"""Whole runs in processes that a real launcher has started."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]

SCRIPT = """
import json, sys
import torch, lt
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Net(lt.LTModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)

x = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(16, 3)
lt.seed_everything(1)
model = Net()
trainer = lt.Trainer(accelerator="cpu", precision="64-true", max_epochs=3, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, **json.loads(sys.argv[1]))
trainer.fit(model, DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 2, shuffle=True))
told = {
    "rank": trainer.global_rank, "of": trainer.world_size, "steps": trainer.global_step,
    "weights": {name: value.tolist() for name, value in model.state_dict().items()},
}
with open(f"rank-{trainer.global_rank}.json", "w") as file:
    json.dump(told, file)
"""

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
LAUNCHERS = {
    "torchrun": [*TORCHRUN, "--nproc-per-node", "2"],
    "mpirun": ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"],
    "srun": ["srun", "-n", "2"],
}


def refuse_missing(launcher: str) -> None:
    """Skip where this launcher can't start anything."""
    if launcher != "torchrun" and shutil.which(launcher) is None:
        pytest.skip(f"needs {launcher}")
    if launcher == "srun" and "idle" not in subprocess.getoutput("timeout 10 sinfo -h -o %T"):
        pytest.skip("needs a Slurm cluster with an idle node")


def told_by(launcher: list[str], folder: Path, **words: Any) -> list[Any]:
    """Run the script in a folder of its own; return what its ranks have told."""
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [*launcher, sys.executable, "script.py", json.dumps(words)],
        cwd=folder,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
        },  # torchrun leaves a folder
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(file.read_text()) for file in sorted(folder.glob("rank-*.json"))]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the same run tells in processes that the trainer has started."""
    folder = tmp_path_factory.mktemp("ours") / "run"
    (told,) = told_by([], folder, devices=2, strategy="ddp")
    return told


@pytest.mark.parametrize("words", [{}, {"devices": 2, "strategy": "ddp"}], ids=["auto", "by name"])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ranks_of_a_launcher_train_as_our_own_do(
    launcher: str, words: dict[str, Any], ours: Any, tmp_path: Path
) -> None:
    refuse_missing(launcher)
    found = told_by(LAUNCHERS[launcher], tmp_path / "run", **words)

    assert ours["steps"] == 12
    assert found == [{**ours, "rank": rank, "of": 2} for rank in (0, 1)]
