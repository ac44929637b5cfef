"""How long a save holds the training up: ours, torch's and Lightning's, taken in turns.

Each contender saves the state of AdamW over a model of that many bytes, a third of it weights. What
is printed is the median of several saves, in milliseconds: how long the call took, and how much the
steps that follow lost, until the save has ended.

    python tools/bench/checkpoint.py --sizes 100 400 --rounds 5
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from lt_checkpoint import FolderStore
from lt_checkpoint.folder import Note
from lt_checkpoint.saver import Saver
from lt_checkpoint.together import Alone

TENSORS = 24


def state_of(megabytes: int) -> dict[str, Any]:
    """A state in Lightning's shape, of that many 10**6 bytes."""
    items = megabytes * 1_000_000 // 4 // 3 // TENSORS
    weights = {f"layer{index}.weight": torch.randn(items) for index in range(TENSORS)}
    moments = {
        index: {
            "step": torch.tensor(9.0),
            "exp_avg": torch.randn(items),
            "exp_avg_sq": torch.rand(items),
        }
        for index in range(TENSORS)
    }
    return {
        "epoch": 1,
        "global_step": 100,
        "state_dict": weights,
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.1},
    }


class Contender:
    """Something that saves, and can be waited for."""

    def __init__(
        self, name: str, save: Callable[[Path], Any], wait: Callable[[Any], None] = lambda _: None
    ) -> None:
        self.name, self.save, self.wait = name, save, wait
        self.stalls: list[float] = []
        self.after: list[float] = []

    def run(self, folder: Path, index: int, matrix: torch.Tensor) -> None:
        path = folder / f"{self.name.replace(' ', '_').replace(',', '')}-{index}.ckpt"
        begun = time.perf_counter()
        pending = self.save(path)
        stalled = time.perf_counter()
        self.stalls.append(stalled - begun)
        steps = 20
        for _ in range(steps):
            torch.mm(matrix, matrix)
        stepped = time.perf_counter()
        self.wait(pending)
        self.after.append((stepped - stalled) / steps)
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)


def ours(state: dict[str, Any], folder: Path) -> list[Contender]:
    store = FolderStore(folder)
    saver = Saver(store, Alone(), asynchronous=True)

    def beside(path: Path) -> None:
        saver.save(state, str(path), Note(), obsolete=[])

    return [
        Contender("ours", lambda path: store.save(state, str(path))),
        Contender("ours, asynchronous", beside, lambda _: saver.settle()),
    ]


def torch_s(state: dict[str, Any]) -> list[Contender]:
    def flushed(path: Path) -> None:
        with path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    return [
        Contender("torch.save", lambda path: torch.save(state, path)),
        Contender("torch.save, flushed", flushed),
    ]


def torch_async(state: dict[str, Any]) -> list[Contender]:
    """Let torch copy the state and write it beside the training; what it returns is awaited."""
    try:
        from torch.distributed.checkpoint.state_dict_saver import async_save
    except ImportError as error:
        print(f"without torch's async_save: {error}")
        return []
    tensors = {"model": state["state_dict"], "optimizer": state["optimizer_states"][0]["state"]}
    tensors["optimizer"] = {str(index): one for index, one in tensors["optimizer"].items()}

    def save(path: Path) -> Any:
        return async_save(tensors, checkpoint_id=path, no_dist=True)

    return [Contender("torch's async_save", save, lambda pending: pending.result())]


def lightning_s(state: dict[str, Any]) -> list[Contender]:
    """What Lightning's ModelCheckpoint calls in the end, without the making of the state."""
    try:
        from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
    except ImportError as error:
        print(f"without Lightning: {error}")
        return []
    plugin = TorchCheckpointIO()
    return [Contender("Lightning", lambda path: plugin.save_checkpoint(state, path))]


def measure(megabytes: int, rounds: int, root: Path) -> dict[str, float]:
    state, matrix = state_of(megabytes), torch.randn(300, 300)
    for _ in range(5):
        torch.mm(matrix, matrix)
    begun = time.perf_counter()
    for _ in range(50):
        torch.mm(matrix, matrix)
    step = (time.perf_counter() - begun) / 50
    contenders = [*torch_s(state), *lightning_s(state), *torch_async(state), *ours(state, root)]
    for index in range(rounds + 1):
        for contender in contenders:
            contender.run(root, index, matrix)
    print(f"\n{megabytes} MB, medians of {rounds}, in ms; a step alone takes {1e3 * step:.1f}")
    print(f"{'':22}{'stall':>9}{'steps after it take':>22}")
    found = {}
    for one in contenders:
        found[one.name] = 1e3 * statistics.median(one.stalls[1:])  # the first warms up
        print(f"{one.name:22}{found[one.name]:9.1f}{1e3 * statistics.median(one.after[1:]):22.1f}")
    asynchronous = found["ours, asynchronous"] / found["torch.save"]
    blocking = found["ours"] / found["torch.save, flushed"]
    print(f"asynchronous: {asynchronous:.2f} of torch.save (wanted: at most 0.25)")
    print(f"blocking: {blocking:.2f} of torch.save, flushed (wanted: at most 1.2)")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 400], help="in 10**6 bytes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be measured")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of the others
    torch.manual_seed(0)
    for megabytes in given.sizes:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            measure(megabytes, given.rounds, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
