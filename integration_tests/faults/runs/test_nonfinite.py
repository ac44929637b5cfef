"""One rank of two has a loss, or a gradient, that is not finite: both do the same about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LOSS = (
    "The loss of rank 1 and the gradient of layers.2.bias are not finite at step {step}, batch 4 "
    "of epoch 0."
)
GRADIENT = "The gradient of layers.0.bias is not finite at step {step}, batch 4 of epoch 0."
ADVICE = " Look at the batch, or pass on_nonfinite='skip'."


def found(one: Any, case: str) -> tuple[list[str], int, int]:
    """Return what was told of a case, the steps and those skipped, once both ranks agree."""
    weights = torch.load(one.folder / f"{case}.pt")
    for name, weight in weights["expected"].items():
        assert torch.equal(weights["found"][name], weight), (case, name)
    first, second = (note.split() for note in one.notes if note.startswith(f"{case} rank"))
    assert {first[2], second[2]} == {"0", "1"}
    assert first[3:] == second[3:], "the same counts and weights"
    told = [n.removeprefix(f"{case} told ") for n in one.notes if n.startswith(f"{case} told")]
    return told, int(first[3]), int(first[5])


def raised(one: Any, case: str, sentence: str) -> None:
    """Hold what both ranks raised, and what came out of ``fit``."""
    assert f"{case} raised {sentence}" in one.told()
    for rank in range(2):
        assert f"{case} rank {rank} FloatingPointError: {sentence}" in one.notes


@pytest.mark.parametrize("bad", ["nan", pytest.param("inf", marks=pytest.mark.whole)])
def test_both_ranks_do_the_same(bad: str, tmp_path: Path, script: Callable[..., Any]) -> None:
    cases = [(action, "32-true", bad) for action in ("skip", "rollback", "raise")]
    one = script("nonfinite", root=str(tmp_path), cases=cases)
    assert one.wait(200) == 0, one.told()
    for action, counts in (("skip", (7, 1)), ("rollback", (7, 0))):
        told, *rest = found(one, f"{action}-32-true-{bad}")
        assert tuple(rest) == counts
        assert told == [f"WARNING {LOSS.format(step=4)} on_nonfinite={action!r}"]
    raised(one, f"raise-32-true-{bad}", LOSS.format(step=4) + ADVICE)


def test_in_16_mixed_both_ranks_skip_it_and_say_so(
    tmp_path: Path, script: Callable[..., Any]
) -> None:
    cases = [(None, "16-mixed", bad) for bad in ("nan", "gradient")]
    one = script("nonfinite", root=str(tmp_path), cases=cases)
    assert one.wait(200) == 0, one.told()
    for bad, level, what in (("nan", "WARNING", LOSS), ("gradient", "INFO", GRADIENT)):
        told, steps, skipped = found(one, f"None-16-mixed-{bad}")
        assert steps + skipped == 8, "it also skips while it looks for its scale"
        scale = 2.0 ** (17 - skipped)
        expected = f"{level} {what.format(step=5 - skipped)} The step is skipped, with a loss scale"
        assert told[-1] == f"{expected} of {scale:g}."
        assert len(told) == skipped


def test_in_16_mixed_a_loss_is_not_the_fault_of_the_scale(
    tmp_path: Path, script: Callable[..., Any]
) -> None:
    cases = [(action, "16-mixed", "nan") for action in ("skip", "rollback", "raise")]
    one = script("nonfinite", root=str(tmp_path), cases=cases)
    assert one.wait(200) == 0, one.told()
    for action in ("skip", "rollback"):
        told, steps, skipped = found(one, f"{action}-16-mixed-nan")
        searched = skipped - (action == "skip")
        assert steps == 7 - searched
        assert told[searched] == f"WARNING {LOSS.format(step=4 - searched)} on_nonfinite={action!r}"
    raised(one, "raise-16-mixed-nan", LOSS.format(step=4 - searched) + ADVICE)
