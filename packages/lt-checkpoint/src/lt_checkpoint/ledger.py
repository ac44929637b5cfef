"""The books of a callback: what it keeps, what it has yet to delete, what if a save fails."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, final

from lt_checkpoint.places import is_url
from lt_checkpoint.top_k import Kept, Score


class Decision(NamedTuple):
    """What rank 0 decided about a checkpoint; all ranks follow."""

    path: str
    score: float | None
    metrics: dict[str, float]


@final
class Ledger:
    """What one callback has saved in a run.

    A checkpoint is entered before it is saved, because its state must say that it is there, and
    that what it replaces may be deleted.

    Attributes:
        kept: the checkpoints.
        obsolete: the paths that are deleted after the next save.
        current_score: the score of the one that was saved last.
    """

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.obsolete: list[str] = []
        self.current_score: Score | None = None
        self._elsewhere = ""
        self._before: tuple[Kept, list[str], Score | None] = (kept, [], None)

    def enter(self, path: str, score: float | None) -> list[str]:
        """Take in a checkpoint that is about to be saved; return what to delete after it was."""
        self._before = (self.kept.copy(), list(self.obsolete), self.current_score)
        replaced = [*self.obsolete, *self.kept.add(path, score)]
        self.obsolete = [one for one in dict.fromkeys(replaced) if one != path]
        self.current_score = None if score is None else Score(score)
        return list(self.obsolete)

    def replaced_by(self, score: float | None) -> list[str]:
        """Return what would not be kept any more beside a new checkpoint with this score."""
        return self.kept.copy().add("", score)

    def undo(self) -> None:
        """Take the last one out again: it was not saved."""
        self.kept, self.obsolete, self.current_score = self._before

    @property
    def best_path(self) -> str:
        """The path of the best one, empty before the first."""
        return self.kept.best or self._elsewhere

    @property
    def best_k(self) -> dict[str, Score]:
        """The best ones with their scores; empty without a monitor."""
        scores = self.kept.scores if self.kept.monitored else {}
        return {path: Score(score) for path, score in scores.items()}

    @property
    def best_score(self) -> Score | None:
        """The score of the best one, None where there is none."""
        return self.best_k.get(self.kept.best)

    @property
    def kth_path(self) -> str:
        """The worst of the best k, empty while there are fewer."""
        full = self.kept.k in (-1, len(self.best_k))
        return self.kept.kth if full and self.best_k else ""

    @property
    def kth_value(self) -> Score:
        """The score of that one; infinitely bad while there are fewer."""
        worst = float("inf") if self.kept.mode == "min" else -float("inf")
        return self.best_k.get(self.kth_path, Score(worst))

    @property
    def last_path(self) -> str:
        """The path of the newest one where that is kept, else empty."""
        return self.kept.newest if self.kept.last else ""

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, under Lightning's names and three of our own."""
        best, current = self.best_score, self.current_score
        return {
            "best_model_score": None if best is None else float(best),
            "best_model_path": self.best_path,
            "current_score": None if current is None else float(current),
            "best_k_models": {path: float(one) for path, one in self.best_k.items()},
            "kth_best_model_path": self.kth_path,
            "kth_value": float(self.kth_value),
            "last_model_path": self.last_path,
            "kept": dict(self.kept.scores),
            "newest": self.kept.newest,
            "obsolete": list(self.obsolete),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back; what is no longer there is forgotten."""
        self.kept.scores = dict(state.get("kept", state["best_k_models"]))
        self.kept.newest = state.get("newest", state["last_model_path"])
        self.obsolete = list(state.get("obsolete", ()))
        score = state["current_score"]
        self.current_score = None if score is None else Score(score)
        for path in [*self.kept.scores, self.kept.newest]:
            if path and not is_url(path) and not os.path.exists(path):
                self.kept.forget(path)

    def remember_best(self, path: str) -> None:
        """Know a best one in another folder, until there is one here."""
        self._elsewhere = path
