"""Which checkpoints are kept: the best few, the last one, and what they replace. No files here."""

import copy
import math
from dataclasses import dataclass, field
from typing import Literal, Self, final


@final
class Score(float):
    """A metric's value, with the method by which a tensor would be read."""

    def item(self) -> float:
        """Return the number."""
        return float(self)


@final
@dataclass(slots=True, kw_only=True)
class Kept:
    """The checkpoints of one callback, by their paths, with their scores.

    Without a monitor, newer is better. Of two with the same score the older one is better. NaN is
    worse than every number.

    Attributes:
        mode: whether the least or the greatest score is the best.
        k: how many of the best are kept, -1 for all.
        monitored: whether there are scores.
        last: whether the newest is kept beside them.
        scores: those kept as the best, oldest first.
        newest: the path of the newest, kept or not.
    """

    mode: Literal["min", "max"] = "min"
    k: int = 1
    monitored: bool = True
    last: bool = False
    scores: dict[str, float] = field(default_factory=dict)
    newest: str = ""

    def copy(self) -> Self:
        """Return a copy that changes by itself."""
        return copy.deepcopy(self)

    def admits(self, score: float | None) -> bool:
        """Return whether one with this score would be among the best."""
        if self.k == 0:
            return False
        if self.k < 0 or not self.monitored or len(self.scores) < self.k:
            return True
        worst = self.scores[self.kth]
        return self._rank(math.nan if score is None else score) < self._rank(worst)

    def wants(self, score: float | None) -> bool:
        """Return whether one with this score is saved at all."""
        return self.last or self.admits(score)

    def add(self, path: str, score: float | None) -> list[str]:
        """Take in a checkpoint that :meth:`wants` said yes to; return those no longer wanted."""
        admitted = self.admits(score)
        before = {*self.scores, self.newest} - {""}
        self.scores.pop(path, None)
        if admitted:
            while 0 < self.k <= len(self.scores):
                del self.scores[self.kth]
            self.scores[path] = math.nan if score is None else score
        self.newest = path
        wanted = {*self.scores, *([path] if self.last else [])}
        return sorted(before - wanted)

    def forget(self, path: str) -> None:
        """Drop one that is no longer there."""
        self.scores.pop(path, None)
        if self.newest == path:
            self.newest = ""

    @property
    def best(self) -> str:
        """The path of the best; empty where there is none."""
        return self._ordered()[0] if self.scores else ""

    @property
    def kth(self) -> str:
        """The path of the worst of those kept as the best; empty where there is none."""
        return self._ordered()[-1] if self.scores else ""

    def _ordered(self) -> list[str]:
        if not self.monitored:
            return list(self.scores)[::-1]
        return sorted(self.scores, key=lambda path: self._rank(self.scores[path]))

    def _rank(self, score: float) -> float:
        if math.isnan(score):
            return math.inf
        return score if self.mode == "min" else -score
