"""``kill -9`` at random instants of runs that save every step; then they are started again."""

import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import FolderStore, verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

log = logging.getLogger(__name__)

EPOCHS, STEPS = 8, 24

MODES: dict[str, dict[str, Any]] = {
    "keep 1": {},
    "keep 2": {"saving": {"monitor": "loss_step", "save_top_k": 2}, "workers": 2},
    "best and last": {"saving": {"monitor": "loss_step", "save_last": True}},
    "asynchronous": {"saving": {"asynchronous": True}},
}
DONE = f"Received max_epochs={EPOCHS} and a state of epoch {EPOCHS}, step {STEPS}."
LIVES = 10
"""How often one run is killed before it is left to end."""


@pytest.fixture(scope="module")
def whole(script_of_module: Callable[..., Any], tmp_path_factory: Any) -> Any:
    """The run that is never killed; saving in another way changes nothing of it."""
    root = tmp_path_factory.mktemp("whole")
    one = script_of_module("fit", root=str(root), trainer={"max_epochs": EPOCHS})
    assert one.wait() == 0, one.told()
    one.root = root
    return one


def check_folder(folder: Path) -> None:
    """Whatever bears a final name is whole, and what is left behind does not pile up."""
    entries = os.listdir(folder) if folder.exists() else []
    finals = [name for name in entries if not name.startswith(".")]
    for name in finals:
        verify(folder / name)
    assert len(finals) <= 2 + 2, "the one under way, and one that was yet to be deleted"
    assert len(entries) - len(finals) <= 4, "what the run before left was swept"


def numbers(notes: list[str], word: str) -> list[int]:
    """Return the steps at which a script noted something."""
    return [int(n.split("=")[-1].split()[-1].split(".")[0]) for n in notes if n.startswith(word)]


def acknowledged(one: Any, *, asynchronous: bool) -> int:
    """Return the step of the newest save that the script was told of.

    One that is written beside the training is acknowledged when the next one begins.
    """
    saved = [0, *numbers(one.notes, "saved")]
    return saved[-2] if asynchronous and len(saved) > 1 else saved[-1]


@pytest.mark.parametrize("mode", MODES)
def test_killed_again_and_again(
    mode: str,
    whole: Any,
    tmp_path: Path,
    script: Callable[..., Any],
    rows: Callable[[Path], Any],
    instants: Callable[[int, int], range],
    chance: random.Random,
) -> None:
    planned = killed = len(instants(2, 50))
    begun, ended = ((whole.folder / name).stat().st_mtime for name in ("pid", "exit"))
    words = {"trainer": {"max_epochs": EPOCHS}, **MODES[mode]}
    asynchronous = mode == "asynchronous"
    left, in_training, turn = planned, 0, 0
    while left:
        root, turn, lives, reached = tmp_path / f"run-{turn}", turn + 1, min(LIVES, left), 0
        while reached < STEPS:
            saved = FolderStore(root / "checkpoints").list()
            seed = chance.randrange(1000) if saved else 7  # one that goes on needs no seed
            one = script("fit", root=str(root), seed=seed, **words)
            if lives:
                if lives % 2:  # else at any instant of its life, the first ones included
                    one.wait_for("saved", may_end=True)
                time.sleep(chance.uniform(0, (ended - begun) / 3))
            code = one.kill() if lives else one.wait()
            check_folder(root / "checkpoints")
            one.wait_until_alone()
            starts = numbers(one.notes, "start")
            assert not starts or starts[0] >= reached, "only what came after that is repeated"
            reached = max(reached, acknowledged(one, asynchronous=asynchronous))
            if code == 0 or DONE in one.errors:  # it was killed after its last save
                break
            assert code == -9, one.told()
            left, lives, in_training = left - 1, lives - 1, in_training + bool(starts)
        if code == 0:
            weights = one.weights
        else:
            state = FolderStore(root / "checkpoints").load("last")
            assert state["global_step"] == STEPS
            weights = state["state_dict"]
        assert weights.keys() == whole.weights.keys()
        assert all(torch.equal(weights[name], whole.weights[name]) for name in weights)
        assert rows(root) == rows(whole.root)
    assert in_training >= killed / 4, "most instants are such that there is something to lose"
    log.info("%s: %d kills, %d in training, in %d runs", mode, planned, in_training, turn)
