"""One rank of two has a loss or gradients that are not finite: both do the same about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUNS: list[dict[str, Any]] = [
    {"name": f"{precision}-{action}-{bad}", "precision": precision, "on_nonfinite": action}
    | {"bad": bad}
    for precision, action, bad in (
        ("32-true", "skip", "loss"),
        ("32-true", "rollback", "gradient"),
        ("32-true", "raise", "loss"),
        ("16-mixed", None, "loss"),
        ("16-mixed", "rollback", "loss"),
        ("16-mixed", "raise", "loss"),
        ("16-mixed", "raise", "gradient"),  # the scaler's business: it may be the scale
    )
]


def raises(run: dict[str, Any]) -> bool:
    scales = run["precision"] == "16-mixed"
    return run["on_nonfinite"] == "raise" and not (scales and run["bad"] == "gradient")


def test_both_ranks_do_the_same(tmp_path: Path, script: Callable[..., Any]) -> None:
    one = script("nonfinite", root=str(tmp_path), runs=RUNS)
    assert one.wait(200) == 0, one.told()
    for run in RUNS:
        name = run["name"]
        notes = [note for note in one.notes if note.startswith(f"{name} ")]
        if raises(run):
            ended_with_an_error(notes, name, mixed=run["precision"] == "16-mixed")
            continue
        found = torch.load(one.folder / f"{name}.pt")
        for key, weight in found["expected"].items():
            assert torch.equal(found["found"][key], weight), (name, key)
        first, second = (note.split() for note in notes)
        assert {first[2], second[2]} == {"0", "1"}
        assert first[3:] == second[3:], "the same counts and weights"
        rolled_back = run["on_nonfinite"] == "rollback"
        assert (int(first[3]), int(first[5])) == (7, 0 if rolled_back else 1)
    told = [
        "The gradient of layers.2.bias is not finite, nor is the loss, at step 4, batch 4 of",
        "The gradient of layers.2.bias, times 65536, does not fit: skipped step 4, batch 4 of",
    ]
    for line in told:
        assert line in one.errors


def ended_with_an_error(notes: list[str], name: str, *, mixed: bool) -> None:
    lost = ", nor is the loss," if mixed else ""
    message = (
        f"The gradient of layers.2.bias is not finite{lost} at step 4, batch 4 of epoch 0. "
        "Look at the batch, or pass on_nonfinite='skip'."
    )
    told = [f"{name} rank {rank} FloatingPointError: {message}" for rank in range(2)]
    raised = sorted(notes, key=lambda note: "raised" in note)
    assert sorted(raised[:2]) == told
    assert raised[2].splitlines()[0] == f"{name} raised {message}"
