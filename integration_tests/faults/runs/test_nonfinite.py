"""One rank of two has a loss that is not finite: both do the same about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_both_ranks_do_the_same(tmp_path: Path, script: Callable[..., Any]) -> None:
    actions = ("skip", "rollback", "16-mixed", "raise")
    one = script("nonfinite", root=str(tmp_path), actions=actions)
    assert one.wait(200) == 0, one.told()
    for action in ("skip", "rollback", "16-mixed"):
        found = torch.load(one.folder / f"{action}.pt")
        for name, weight in found["expected"].items():
            assert torch.equal(found["found"][name], weight), (action, name)
        first, second = (note.split() for note in one.notes if note.startswith(f"{action} rank"))
        assert {first[2], second[2]} == {"0", "1"}
        assert first[3:] == second[3:], "the same counts and weights"
        steps, skipped = int(first[3]), int(first[5])
        if action == "16-mixed":  # which also skips while it looks for its scale
            assert steps + skipped == 8
        else:
            assert (steps, skipped) == (7, 0 if action == "rollback" else 1)
    message = (
        "The gradient of layers.2.bias is not finite at step 4, batch 4 of epoch 0. "
        "Look at the batch, or pass on_nonfinite='skip'."
    )
    raised = sorted(note for note in one.notes if note.startswith("raise"))
    told = [f"raise rank {rank} FloatingPointError: {message}" for rank in range(2)]
    assert raised[0].splitlines() == [f"raise raised {message}"]
    assert [note for note in raised if " rank " in note] == told
