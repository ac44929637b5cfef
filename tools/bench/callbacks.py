"""What does a callback that only observes add to a training step?

Each trains the workload of overhead.py beside a trainer without it, in one process, in rounds: in
each round everybody runs once, in an order that rotates, and is compared with the bare run of that
round. What is printed are medians over the rounds, and the quartiles of the ratio, in time of the
processor: nothing here waits, and other processes don't count. All runs hand their numbers to a
logger that drops them, every 50 steps. Final weights are compared with those of the bare run bit
for bit.

The last two columns are time in the callback's own hooks, one step at a time: of an ordinary step,
and of a 50th one, which is logged. They are medians of one more run, and hardly know noise.

    hatch run python tools/bench/callbacks.py
    hatch run python tools/bench/callbacks.py --only GradientCheck --rounds 31
"""

import argparse
import functools
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from contestants import Ours
from torch import Tensor, nn
from workload import BATCH, WARM_UP, Batch, Measured, TimedBatches

import lt
from lt.callbacks import (
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    GradCheckOnce,
    GradientCheck,
    LearningRateMonitor,
    ThroughputMonitor,
)

Callbacks = Callable[[], list[Callback]]

BARE = "none"


class Dropped(lt.Callback):
    """A logger that keeps nothing."""

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        pass


class Watched(Ours):
    """The workload, with one logged value, its network in reach and a price."""

    flops_per_batch = 3 * 2 * BATCH * (32 * 32 + 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss


def throughput() -> Callback:
    """The monitor with all that it can tell."""
    return ThroughputMonitor(lambda batch: len(batch[0]), available_flops=1e12)


def everything() -> list[Callback]:
    """All observers, as most people would use them."""
    return [
        DeviceStatsMonitor(),
        EarlyStopping("loss", patience=1000),
        GradCheckOnce(),
        GradientCheck(),
        LearningRateMonitor(),
        throughput(),
    ]


CONTESTANTS: dict[str, Callbacks] = {
    BARE: list,
    "none, again": list,
    "DeviceStatsMonitor": lambda: [DeviceStatsMonitor()],
    "EarlyStopping": lambda: [EarlyStopping("loss", patience=1000)],
    "GradCheckOnce": lambda: [GradCheckOnce()],
    "GradientCheck": lambda: [GradientCheck()],
    "GradientCheck, every step": lambda: [GradientCheck(1)],
    "GradientCheck, all it can do": lambda: [
        GradientCheck(dead_above=0.95, if_dead="log", log_update_ratios=True)
    ],
    "LearningRateMonitor": lambda: [LearningRateMonitor()],
    "ThroughputMonitor": lambda: [throughput()],
    "all of them": everything,
}


def train(callbacks: list[Callback], batches: TimedBatches) -> nn.Module:
    """Train the workload beside some callbacks."""
    model = Watched()
    lt.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=Dropped(),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_checkpointing=False,
    ).fit(model, batches)
    return model.network


def measure(found: dict[str, Callbacks], *, rounds: int, steps: int) -> dict[str, Measured]:
    """Run all rounds; the first one warms up and does not count."""
    results = {name: Measured() for name in found}
    names = list(found)
    for turn in range(rounds + 1):
        times: dict[str, float] = {}
        weights: dict[str, list[Tensor]] = {}
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            batches = TimedBatches(steps, clock=time.process_time)
            gc.collect()
            model = train(found[name](), batches)
            times[name] = batches.microseconds_per_step
            weights[name] = [parameter.detach() for parameter in model.parameters()]
        if turn == 0:
            continue
        for name, result in results.items():
            result.times.append(times[name])
            result.ratios.append(times[name] / times[BARE])
            result.same_weights &= all(map(torch.equal, weights[name], weights[BARE]))
    return results


HOOKS = (
    "on_train_batch_start",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""The hooks of a step."""


def in_own_hooks(callbacks: list[Callback], *, steps: int) -> tuple[float, float]:
    """Return µs in the callbacks' hooks: of an ordinary step, and of one that is logged."""
    spent: list[int] = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def measured(*arguments: Any) -> Any:
            begun = time.perf_counter_ns()
            returned = method(*arguments)
            spent[-1] += time.perf_counter_ns() - begun
            return returned

        return measured

    for callback in callbacks:
        for name in HOOKS:
            if name in vars(type(callback)):
                setattr(callback, name, timed(getattr(callback, name)))

    class Steps(Callback):
        def on_train_batch_start(
            self, trainer: lt.Trainer, pl_module: Any, batch: Any, batch_idx: int
        ) -> None:
            spent.append(0)

    train([Steps(), *callbacks], TimedBatches(steps))
    counted = list(enumerate(spent, 1))[WARM_UP:]
    ordinary = [nanoseconds for step, nanoseconds in counted if step % 50]
    logged = [nanoseconds for step, nanoseconds in counted if not step % 50]
    return statistics.median(ordinary) / 1000, statistics.median(logged) / 1000


def report(results: dict[str, Measured], own: dict[str, tuple[float, float]]) -> None:
    """Print the table."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread, medians of rounds")
    print(
        f"{'':30} {'µs/step':>9} {'added':>7} {'ratio':>7} {'quartiles':>17}  weights   "
        f"{'own':>7} {'50th':>7}"
    )
    for name, result in results.items():
        median, ratio = statistics.median(result.times), statistics.median(result.ratios)
        bare = zip(result.times, results[BARE].times, strict=True)
        added = statistics.median(one - other for one, other in bare)
        low, _, high = statistics.quantiles(result.ratios, n=4)
        same = "same bits" if result.same_weights else "DIFFERENT"
        print(
            f"{name:30} {median:9.1f} {added:+7.1f} {ratio:7.3f} {low:7.3f} to {high:.3f}  {same} "
            f"{own[name][0]:7.1f} {own[name][1]:7.0f}"
        )


def main() -> int:
    """Measure and print; 1 where a callback changed a weight."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=150, help="timed steps of a round")
    parser.add_argument("--only", nargs="*", help="those whose name begins so, beside the bare run")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds is at least 2: quartiles are of several")
    torch.set_num_threads(1)
    found = CONTESTANTS
    if arguments.only:
        found = {n: c for n, c in found.items() if n.startswith((BARE, *arguments.only))}
    results = measure(found, rounds=arguments.rounds, steps=arguments.steps)
    own = {name: in_own_hooks(make(), steps=1000) for name, make in found.items()}
    report(results, own)
    return 0 if all(result.same_weights for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
