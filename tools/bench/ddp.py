"""What does a training step cost on two processes, beside the same step with torch's own DDP?

All contestants train the same network on the same batches, in one launch of two gloo processes.
They take turns of ten steps, each in a thread that waits between its turns, in an order that is
drawn anew each time: so all of them meet the same moments of the machine. A turn is compared with
that of the raw loop beside it. What is printed are medians over the turns, with the 95 % confidence
range of the median ratio (a bootstrap over the rounds); "raw again" shows what noise alone makes of
a ratio. A turn begins with the caches full of the others' code, as after a validation, say. A round
makes everything anew, as what memory a run gets is chance, too. Final weights are compared with
those of the raw loop bit for bit, on both ranks.

Wall time says what a user waits; on a machine that others use too it is mostly noise: of two
processes on two cores, one step takes three times as long as the next. The time that the processes
computed stands beside it: what a rank waits for the other one is not in it.

    python tools/bench/ddp.py            # in the environment of `hatch run bench`, ours alone
    python tools/bench/ddp.py --check    # fail where the target is missed
"""

import argparse
import functools
import gc
import logging
import os
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from workload import WARM_UP, Batch, TimedBatches, loss_of, network, optimizer_for

import lt
import lt_accel
from lt_accel.replicated import Replicated
from lt_accel.world import TorchWorld as World

TARGET = 1.03
"""The most that the median ratio of "lt" may be."""

STEPS = 10
"""Of a turn."""

Train = Callable[[Iterable[Batch]], nn.Module]
"""Trains on batches; returns what it trained."""

Cost = tuple[float, float]
"""Of a step, in µs: by the clock on the wall, and of it computed by this process."""


class Contestant(threading.Thread):
    """Somebody who trains when it is their turn. To them, this is an epoch of batches.

    Attributes:
        costs: of each turn after those that warm up.
        model: what was trained, in the end.
    """

    def __init__(self, name: str, train: Train, rank: int, *, turns: int) -> None:
        super().__init__(name=name, daemon=True)
        batches = TimedBatches(0).batches
        self._batches = batches[rank:] + batches[:rank]  # the ranks' differ
        self._train, self._turns = train, WARM_UP // STEPS + turns
        self._mine, self._over = threading.Semaphore(0), threading.Semaphore(0)
        self._failure: BaseException | None = None
        self.costs: list[Cost] = []
        self.model = nn.Module()

    def take_turn(self) -> None:
        """Let them train for some steps; returns when they have, or raises what they raised."""
        if self.ident is None:
            self.start()
        elif self.is_alive():
            self._mine.release()
        else:
            raise RuntimeError(f"{self.name} ended after {len(self.costs)} turns")
        self._over.acquire()
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        try:
            self.model = self._train(self)
        except BaseException as failure:
            self._failure = failure
        self._over.release()

    def __len__(self) -> int:
        return self._turns * STEPS + 1

    def __iter__(self) -> Iterator[Batch]:
        for turn in range(self._turns):
            if turn:
                self._over.release()
                self._mine.acquire()
            wall, computed = time.perf_counter(), time.process_time()
            for step in range(STEPS):
                yield self._batches[(turn * STEPS + step) % len(self._batches)]
            wall, computed = time.perf_counter() - wall, time.process_time() - computed
            if turn >= WARM_UP // STEPS:
                self.costs.append((wall / STEPS * 1e6, computed / STEPS * 1e6))
        yield self._batches[0]  # so that they come back from the last turn


@dataclass
class Compared:
    """One contestant's turns by round, beside the raw loop's.

    Attributes:
        times: µs per step of each turn.
        ratios: the time, over that of raw in the same turn.
        computed: likewise for the time that was computed.
        same_weights: whether the weights were raw's to the bit each time.
    """

    times: list[list[float]] = field(default_factory=list)
    ratios: list[list[float]] = field(default_factory=list)
    computed: list[list[float]] = field(default_factory=list)
    same_weights: bool = True


def raw(batches: Iterable[Batch]) -> nn.Module:
    """Torch's own wrapper in an ordinary loop, which all others are compared with."""
    model = network()
    parallel = DistributedDataParallel(model)
    optimizer = optimizer_for(model)
    for x, y in batches:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(parallel(x), y)
        loss.backward()
        optimizer.step()
    return model


def backend_for(world: World) -> lt_accel.TorchBackend:
    """A backend of one contestant's own: it holds what is trained."""
    return lt_accel.TorchBackend("cpu", sharding=Replicated(lt_accel.DDP(), world))


def by_backend(world: World) -> Train:
    """The same loop with lt_accel's backend, and an agreement at each step."""
    backend = backend_for(world)

    def train(batches: Iterable[Batch]) -> nn.Module:
        model = network()
        backend.setup(model, [])
        (optimizer,) = backend.setup(model, [optimizer_for(model)])
        step = backend.wrap_step(functools.partial(loss_of, model), "train")
        for batch in batches:
            loss = step(backend.place(batch))
            backend.zero_grad(optimizer)
            backend.backward(loss)
            backend.step(optimizer)
            world.agree(0)
        return model

    return train


class Ours(lt.LTModule):
    """The workload as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return loss_of(self.network, batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_for(self.network)


def by_trainer(world: World) -> Train:
    """The Trainer, with everything off that can be off."""

    def train(batches: Iterable[Batch]) -> nn.Module:
        model = Ours()
        lt.Trainer(
            max_epochs=1,
            backend=backend_for(world),
            world=world,
            use_distributed_sampler=False,
            barebones=True,
        ).fit(model, batches)
        return model.network

    return train


def lightning(batches: Iterable[Batch]) -> nn.Module:
    """Lightning, likewise."""
    import lightning.pytorch as pl

    class Theirs(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return loss_of(self.network, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_for(self.network)

    model = Theirs()
    pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        use_distributed_sampler=False,
        barebones=True,
    ).fit(model, batches)
    return model.network


def accelerate(batches: Iterable[Batch]) -> nn.Module:
    """Accelerate's own loop; it is not given the batches, which it would share out again."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = network()
    optimizer = optimizer_for(model)
    prepared, stepped = accelerator.prepare(model, optimizer)
    for x, y in batches:
        stepped.zero_grad()
        loss = nn.functional.mse_loss(prepared(x), y)
        accelerator.backward(loss)
        stepped.step()
    return model


def everybody(world: World) -> dict[str, Train]:
    found = {"raw": raw, "raw again": raw, "lt_accel": by_backend(world), "lt": by_trainer(world)}
    theirs = {"lightning": lightning, "accelerate": accelerate}
    return found | {name: train for name, train in theirs.items() if find_spec(name)}


def measure(world: World, *, rounds: int, turns: int) -> dict[str, Compared]:
    """Run all rounds, as one of the ranks."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    found, order = everybody(world), Random(0)
    results = {name: Compared() for name in found}
    for _ in range(rounds):
        gc.collect()
        _run_round(found, world, results, turns=turns, order=order)
    return results


def _run_round(
    found: dict[str, Train],
    world: World,
    results: dict[str, Compared],
    *,
    turns: int,
    order: Random,
) -> None:
    here = {name: Contestant(name, found[name], world.rank, turns=turns) for name in found}
    for _ in range(WARM_UP // STEPS + turns):
        for name in order.sample(list(here), len(here)):
            world.barrier()
            here[name].take_turn()
    costs = {name: _of_both(world, contestant.costs) for name, contestant in here.items()}
    weights = {name: [*map(Tensor.detach, here[name].model.parameters())] for name in here}
    of_ranks = world.gather(weights["raw"])
    for name, result in results.items():
        pairs = list(zip(costs[name], costs["raw"], strict=True))
        result.times.append([ours[0] for ours, _ in pairs])
        result.ratios.append([ours[0] / theirs[0] for ours, theirs in pairs])
        result.computed.append([ours[1] / theirs[1] for ours, theirs in pairs])
        same = all(
            torch.equal(ours, theirs)
            for of_rank in of_ranks
            for ours, theirs in zip(weights[name], of_rank, strict=True)
        )
        result.same_weights &= all(world.gather(same))


def _of_both(world: World, costs: list[Cost]) -> list[Cost]:
    """Return the mean over the ranks."""
    flat = world.reduce([value for cost in costs for value in cost], "mean")
    return list(zip(flat[::2], flat[1::2], strict=True))


def median(rounds: list[list[float]]) -> float:
    """Return the median over all turns."""
    return statistics.median(value for turns in rounds for value in turns)


def likely(rounds: list[list[float]]) -> tuple[float, float]:
    """Return the range of the median, at 95 %: a bootstrap over the rounds."""
    draw = Random(0)
    drawn = [median(draw.choices(rounds, k=len(rounds))) for _ in range(400)]
    cuts = statistics.quantiles(drawn, n=40)
    return cuts[0], cuts[-1]


def report(results: dict[str, Compared]) -> None:
    """Print the table."""
    print(f"torch {torch.__version__}, two gloo processes of one thread, medians of turns")
    print(f"{'':12} {'µs/step':>9} {'ratio':>7} {'95 %':>16} {'computed':>9}  weights")
    for name, result in results.items():
        low, high = likely(result.ratios)
        same = "same bits" if result.same_weights else "DIFFERENT"
        print(
            f"{name:12} {median(result.times):9.1f} {median(result.ratios):7.3f} "
            f"{low:7.3f} to {high:.3f} {median(result.computed):9.3f}  {same}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    world = lt_accel.select(accelerator="cpu", devices=2, strategy="ddp").world
    assert isinstance(world, World)

    def run() -> Any:
        return measure(world, rounds=given.rounds, turns=given.turns)

    results = world.launch(run)
    report(results)
    ratio = median(results["lt"].ratios)
    wrong = [name for name, result in results.items() if not result.same_weights]
    if given.check and (ratio > TARGET or "lt" in wrong or "lt_accel" in wrong):
        print(f"missed: lt is at {ratio:.3f} of {TARGET}; other weights: {wrong}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
