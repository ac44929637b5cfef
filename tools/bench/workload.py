"""What every contestant of the overhead benchmark trains: the same model, data and optimizer."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

FEATURES, HIDDEN, BATCH = 32, 32, 4
WARM_UP = 60
"""Steps before the clock starts: enough for every logger to have opened its files."""

Batch = tuple[Tensor, Tensor]


class TimedBatches:
    """An epoch of ready batches that notes when it is asked for the first and the last one timed.

    The clock lies in the data, so that every library is timed alike, whatever it does before the
    first step and after the last. It is that of the wall, or one that stands still while other
    processes run.
    """

    def __init__(self, steps: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        generator = torch.Generator().manual_seed(1)
        self.batches: list[Batch] = [
            (
                torch.randn(BATCH, FEATURES, generator=generator),
                torch.randn(BATCH, 1, generator=generator),
            )
            for _ in range(WARM_UP + steps + 1)
        ]
        self.steps = steps
        self.begun = self.ended = 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        last = len(self.batches) - 1
        for index, batch in enumerate(self.batches):
            if index == WARM_UP:
                self.begun = self.clock()
            elif index == last:
                self.ended = self.clock()
            yield batch

    @property
    def microseconds_per_step(self) -> float:
        """Time from the first timed batch to the last, over the steps between them."""
        return (self.ended - self.begun) / self.steps * 1e6


def network() -> nn.Sequential:
    """The model, with the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))


def optimizer_for(model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer, as most people write it."""
    return torch.optim.Adam(model.parameters(), lr=1e-3)


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """The loss."""
    x, y = batch
    return nn.functional.mse_loss(model(x), y)


@dataclass
class Measured:
    """All rounds of one contestant: µs per step, and the ratio to raw in the same round."""

    times: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    same_weights: bool = True
