"""A component fails: the error names it, everything is torn down once, checkpoints stay."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lt_checkpoint import FolderStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NAMED = {
    "step": "in training_step",
    "hook": "in on_before_optimizer_step",
    "callback": "in on_train_batch_start",
    "logger": "in on_log",
    "loader": "in __getitem__",
    "validation": "in validation_step",
}


@pytest.mark.parametrize("where", NAMED)
def test_it_raises(where: str, tmp_path: Path, script: Callable[..., Any]) -> None:
    one = script("fail", root=str(tmp_path), where=where)
    assert one.wait() == 1
    assert f"BrokenError: in the {where}" in one.errors
    assert NAMED[where] in one.errors
    assert one.notes.count("teardown fit") == 1
    assert one.notes.count("exception BrokenError") == 1
    assert_kept(tmp_path)
    one.wait_until_alone()


def test_a_worker_is_killed(tmp_path: Path, script: Callable[..., Any]) -> None:
    one = script("fail", root=str(tmp_path), where="killed worker")
    assert one.wait() == 1
    assert re.search(r"DataLoader worker \(pid.* (killed|exited)", one.errors)
    assert one.notes.count("teardown fit") == 1
    one.wait_until_alone()


def assert_kept(root: Path) -> None:
    """The checkpoint of the step before is whole, and nothing else is left in the folder."""
    (name,) = os.listdir(root / "checkpoints")
    store = FolderStore(root / "checkpoints")
    assert store.load("last")["global_step"] == int(name.removeprefix("step=").split(".")[0])
