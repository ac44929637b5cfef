"""``kill -9`` at random instants of a run that saves every step, and goes on where it was."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import FolderStore, verify

STEPS = 1_000_000  # none of them gets there

MODES: dict[str, dict[str, Any]] = {
    "keep 1": {},
    "keep 2": {"monitor": "loss", "save_top_k": 2},
    "best and last": {"monitor": "loss", "save_last": True},
    "asynchronous": {"asynchronous": True},
    "asynchronous, keep 2": {"asynchronous": True, "monitor": "loss", "save_top_k": 2},
}


def checked(folder: Path, keep: int) -> int:
    """The step of the newest checkpoint, after a look at all that is in the folder."""
    entries = os.listdir(folder)
    whole = [name for name in entries if not name.startswith(".")]
    for name in whole:
        verify(folder / name)  # whatever bears a final name is whole
    hidden = [name for name in entries if name.startswith(".") and name != ".lock"]
    assert len(whole) <= keep + 2, "what one save replaced may not be deleted yet"
    assert len(hidden) <= 3, "what the run before left was swept"
    return int(FolderStore(folder).load("last")["global_step"]) if whole else 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_killed_again_and_again(
    mode: str,
    tmp_path: Path,
    child: Callable[..., Any],
    instants: Callable[[int, int], range],
    chance: random.Random,
) -> None:
    words, folder = MODES[mode], tmp_path / "run"
    keep = words.get("save_top_k", 1) + bool(words.get("save_last"))
    acknowledged = reached = 0
    for index in instants(8, 50):
        note = tmp_path / f"note{index}"
        one = child("train", folder=str(folder), words=words, steps=STEPS, note=str(note), do={})
        one.wait_for(note)
        time.sleep(chance.uniform(0, 0.1))
        one.kill()
        lines = note.read_text().splitlines()
        assert one.process.exitcode == -9
        before, reached = reached, checked(folder, keep)
        if mode in ("keep 1", "best and last"):  # those that save every step, and wait for it
            saved = [int(line.rpartition("step=")[2].split(".")[0].split("-")[0]) for line in lines]
            acknowledged = max([acknowledged, *saved])
            assert reached >= acknowledged, "what was acknowledged is there"
        assert reached >= before, "a run does not lose what the one before had"
    assert reached > 0


@pytest.mark.slow
def test_the_weights_in_the_end_are_those_of_a_run_that_was_never_killed(
    tmp_path: Path, child: Callable[..., Any], chance: random.Random
) -> None:
    def program(folder: str, note: str) -> Any:
        words = {"folder": str(tmp_path / folder), "note": str(tmp_path / note)}
        return child("train", words={"asynchronous": True}, steps=60, do={}, **words)

    assert program("whole", "note").wait() == 0
    notes = [tmp_path / f"note{index}" for index in range(3)]
    for note in notes:
        one = program("part", note.name)
        one.wait_for(note)
        time.sleep(chance.uniform(0, 0.02))
        one.kill()
    assert program("part", "end").wait() == 0
    expected, found = torch.load(tmp_path / "note.pt"), torch.load(tmp_path / "end.pt")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
