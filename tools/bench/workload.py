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
    processes run. On a GPU, which works behind the CPU's back, it is read when all work is done.

    Attributes:
        device: where the contestants train; the batches lie on the CPU, in pinned memory for a GPU.
    """

    def __init__(
        self, steps: int, clock: Callable[[], float] = time.perf_counter, device: str = "cpu"
    ) -> None:
        self.device = device
        self.clock = finished if device == "cuda" else clock
        generator = torch.Generator().manual_seed(1)
        self.batches: list[Batch] = [
            (
                torch.randn(BATCH, FEATURES, generator=generator),
                torch.randn(BATCH, 1, generator=generator),
            )
            for _ in range(WARM_UP + steps + 1)
        ]
        if device == "cuda":
            self.batches = [(x.pin_memory(), y.pin_memory()) for x, y in self.batches]
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


def finished() -> float:
    """Return the time of the wall once the GPU has done all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


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
    """All rounds of one contestant: µs per step, and the ratio to raw in the same round.

    Attributes:
        times: µs per step.
        ratios: the time, over that of raw in the same round.
        same_weights: whether the weights were raw's to the bit each time.
        furthest: the greatest difference of a weight from raw's.
    """

    times: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    same_weights: bool = True
    furthest: float = 0.0
