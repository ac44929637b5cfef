"""Claim a folder and stay alive. Given are the ``folder`` and the ``note`` to write to."""

import time
from pathlib import Path
from typing import Any

from lt_checkpoint import FolderStore

given: dict[str, Any] = globals()["given"]
store = FolderStore(given["folder"])
store.claim()
store.save({"global_step": 1}, "theirs.ckpt")
Path(given["note"]).touch()
time.sleep(100)
