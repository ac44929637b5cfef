"""Load something hostile with little memory to spare; write down how it ended.

Given are the ``path``, the ``way`` to load it, the ``note`` to write to, and, for a URL, the
``copy`` of a folder that is put there first.
"""

import os
import resource
from pathlib import Path
from typing import Any

import torch

import lt
import lt_checkpoint

given: dict[str, Any] = globals()["given"]
path, note = given["path"], Path(given["note"])


class Line(lt.LTModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).pow(2).mean()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", self.layer(batch).pow(2).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer() -> lt.Trainer:
    words: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "max_epochs": 1}
    return lt.Trainer(accelerator="cpu", enable_checkpointing=False, **words)


if "copy" in given:
    import fsspec

    fsspec.filesystem("memory").put(given["copy"], path.removeprefix("memory://"), recursive=True)

WAYS = {
    "load": lambda: lt_checkpoint.load(path),
    "verify": lambda: lt_checkpoint.verify(path),
    "last": lambda: lt_checkpoint.FolderStore(os.path.dirname(path)).load("last"),
    "weights": lambda: lt_checkpoint.load(path, weights_only=True),
    "module": lambda: Line.load_from_checkpoint(path),
    "fit": lambda: trainer().fit(Line(), [torch.ones(2, 1)], ckpt_path=path),
    "test": lambda: trainer().test(Line(), [torch.ones(2, 1)], ckpt_path=path),
}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY))
try:
    WAYS[given["way"]]()
except Exception as error:
    note.write_text(f"{type(error).__name__}: {error}")
else:
    note.write_text("loaded")
