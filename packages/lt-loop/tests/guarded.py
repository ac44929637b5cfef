"""What a run needs that looks at its gradients: data that is bad, and what it goes back to."""

import math
from typing import Any

from toys import batches

from lt_loop import Callback
from lt_loop.solo import DuckBackend, NoStore

DATA = batches(6)
KEEPS: dict[str, Any] = {"enable_checkpointing": None}
BAD = ([math.nan], [1.0])
WITH_A_BAD_ONE = [*DATA[:3], BAD, *DATA[3:]]


class Looking(DuckBackend):
    """Can look at the one gradient there is."""

    def first_non_finite(self, optimizer: Any) -> str | None:
        return None if math.isfinite(optimizer.weight.grad) else "weight"


class Keeper(Callback):
    """Saves every n-th step in memory."""

    role = "checkpoint"

    def __init__(self, every: int) -> None:
        self.every, self.states = every, {}

    def on_safe_point(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.states["last"] = trainer.capture()

    def resolve(self, which: str) -> str | None:
        return which if which in self.states else None


class Shelf(NoStore):
    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def load(self, name: str, *, world: Any = None) -> Any:
        return self.keeper.states[name]
