"""Fit the experiment on a disk whose flushes take their time, or never end.

Given is what ``fit`` reads, and ``hangs_at``: the step whose save never ends.
"""

import os
import time
from pathlib import Path
from typing import Any

import experiment

from lt_checkpoint import folder_store
from lt_checkpoint.folder import Folder

given: dict[str, Any] = globals()["given"]
assert folder_store
commit = Folder.write


def slowly(self: Any, draft: Any, name: str, *words: Any, **more: Any) -> Any:
    """Write, after a while in which the disk is busy."""
    step = int(name.removeprefix("step=").split(".")[0])
    experiment.note(f"saving {step}")
    time.sleep(1000 if step == given.get("hangs_at") else 0.3)
    return commit(self, draft, name, *words, **more)


Folder.write = slowly  # type: ignore[method-assign]
source = Path(os.path.dirname(__file__), "fit.py").read_text()
exec(compile(source, "fit.py", "exec"))
