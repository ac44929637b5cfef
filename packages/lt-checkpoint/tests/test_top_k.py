"""The oracle is sorted()."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_checkpoint.ledger import Ledger
from lt_checkpoint.top_k import Kept

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, math.inf, -math.inf, math.nan]), max_size=12)


def ranked(scores: list[float], mode: str) -> list[int]:
    """The indices of the scores, best first; of equal ones the earlier first, NaN last."""
    sign = 1 if mode == "min" else -1

    def key(index: int) -> tuple[float, int]:
        score = scores[index]
        return (math.inf if math.isnan(score) else sign * score, index)

    return sorted(range(len(scores)), key=key)


def played(kept: Kept, scores: list[float]) -> set[str]:
    """The paths that are on the disk in the end; checks each step."""
    there: set[str] = set()
    for index, score in enumerate(scores):
        path = f"{index}"
        if not kept.wants(score):
            continue
        there.add(path)
        gone = kept.add(path, score)
        assert set(gone) <= there - {path}, "the new one is not deleted, and nothing twice"
        there -= set(gone)
    return there


@given(SCORES, st.integers(1, 4), st.sampled_from(["min", "max"]))
def test_the_best_k_are_those_of_sorted(scores: list[float], k: int, mode: Any) -> None:
    kept = Kept(mode=mode, k=k)
    there = played(kept, scores)
    best = [str(index) for index in ranked(scores, mode)[:k]]
    assert there == set(best) == set(kept.scores)
    assert kept.best == (best[0] if best else "")
    assert kept.kth == (best[-1] if best else "")


@given(SCORES, st.integers(-1, 3), st.sampled_from(["min", "max"]))
def test_the_last_is_there_beside_them(scores: list[float], k: int, mode: Any) -> None:
    kept = Kept(mode=mode, k=k, last=True)
    there = played(kept, scores)
    best = ranked(scores, mode)[: len(scores) if k < 0 else k]
    last = [len(scores) - 1] if scores else []
    assert there == {str(index) for index in [*best, *last]}
    assert kept.newest == (str(last[0]) if last else "")


@pytest.mark.parametrize(("k", "there"), [(-1, {"0", "1", "2"}), (0, set()), (1, {"2"})])
def test_without_a_monitor_newer_is_better(k: int, there: set[str]) -> None:
    kept = Kept(k=k, monitored=False)
    assert played(kept, [3.0, 1.0, 2.0]) == there
    assert kept.best == ("2" if there else "")


@pytest.mark.parametrize("k", [1, -1])
def test_a_path_that_is_saved_again_is_not_deleted(k: int) -> None:
    kept = Kept(k=k, monitored=False, last=True)
    assert kept.add("a", None) == []
    assert kept.add("a", None) == []
    assert list(kept.scores) == ["a"]


@given(SCORES, st.integers(-1, 3), st.booleans(), st.integers(0, 11))
def test_a_ledger_that_goes_on_from_its_state_ends_alike(
    scores: list[float], k: int, last: bool, at: int
) -> None:
    def run(ledger: Ledger, scores: list[float], first: int) -> None:
        for index, score in enumerate(scores, first):
            if ledger.kept.wants(score):
                ledger.enter(str(index), score)
                ledger.obsolete = []

    whole = Ledger(Kept(k=k, last=last))
    run(whole, scores, 0)
    part, rest = Ledger(Kept(k=k, last=last)), Ledger(Kept(k=k, last=last))
    run(part, scores[:at], 0)
    rest.kept.scores, rest.kept.newest = dict(part.kept.scores), part.kept.newest
    rest.current_score = part.current_score
    run(rest, scores[at:], len(scores[:at]))
    assert repr(rest.state_dict()) == repr(whole.state_dict())


def test_what_was_not_saved_is_taken_out_again() -> None:
    ledger = Ledger(Kept(k=1))
    ledger.enter("a", 1.0)
    before = ledger.state_dict()
    ledger.obsolete = []
    assert ledger.enter("b", 0.5) == ["a"]
    assert ledger.state_dict()["obsolete"] == ["a"]
    ledger.undo()
    assert ledger.state_dict() == before


def test_a_state_of_lightning_s_is_understood(tmp_path: Any) -> None:
    (tmp_path / "a").touch()
    ledger = Ledger(Kept(k=2))
    ledger.load_state_dict(
        {
            "best_model_score": 0.5,
            "best_model_path": str(tmp_path / "a"),
            "current_score": 0.5,
            "best_k_models": {str(tmp_path / "a"): 0.5, str(tmp_path / "gone"): 0.7},
            "kth_best_model_path": "",
            "kth_value": 0.7,
            "last_model_path": "",
        }
    )
    assert ledger.best_k == {str(tmp_path / "a"): 0.5}
    assert ledger.best_score is not None
    assert ledger.best_score.item() == 0.5
