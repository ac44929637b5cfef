"""What does a training step cost, beside the same step in an ordinary loop?

All contestants train the same network on the same batches in one process, in rounds: in each round
everybody runs once, in an order that rotates, and is compared with the raw loop of that round. What
is printed are medians over the rounds, and the quartiles of the ratio. Final weights are compared
with those of the raw loop bit for bit.

    hatch run bench                      # ours alone
    hatch run bench:overhead             # beside Lightning, Fabric, Accelerate and Ignite
    hatch run bench --check              # fail where a target is missed
    hatch run bench --device cuda        # on a GPU, with recorded steps beside the rest
"""

import argparse
import gc
import os
import statistics
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from contestants import Contestant, contestants
from torch import nn
from workload import Measured, TimedBatches

TARGETS = {
    "lt": 1.02,
    "lt, five idle callbacks": 1.02,
    "lt, one logged value": 1.05,
    "lt, all defaults": 1.10,
}
"""The most that a median ratio may be."""

MICROSECONDS = {"lt, ten logged values": 60.0}
"""The most that a step may take over one of the raw loop."""


ROUNDING = 1e-4
"""How far weights may be from raw's after a recorded training, whose optimizer computes the same in
another order."""


def measure(
    found: dict[str, Contestant], *, rounds: int, steps: int, device: str
) -> dict[str, Measured]:
    """Run all rounds; the first one warms up and does not count."""
    results = {name: Measured() for name in found}
    names = list(found)
    for turn in range(rounds + 1):
        times: dict[str, float] = {}
        weights: dict[str, list[torch.Tensor]] = {}
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            batches = TimedBatches(steps, device=device)
            gc.collect()
            model: nn.Module = found[name](batches)
            times[name] = batches.microseconds_per_step
            weights[name] = [parameter.detach().cpu() for parameter in model.parameters()]
        if turn == 0:
            continue
        for name, result in results.items():
            result.times.append(times[name])
            result.ratios.append(times[name] / times["raw"])
            for ours, theirs in zip(weights[name], weights["raw"], strict=True):
                result.same_weights &= torch.equal(ours, theirs)
                result.furthest = max(result.furthest, float((ours - theirs).abs().max()))
    return results


def report(results: dict[str, Measured]) -> None:
    """Print the table."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread, medians of rounds")
    print(f"{'':30} {'µs/step':>9} {'over raw':>9} {'ratio':>7} {'quartiles':>17}  weights")
    baseline = statistics.median(results["raw"].times)
    for name, result in results.items():
        time, ratio = statistics.median(result.times), statistics.median(result.ratios)
        low, _, high = statistics.quantiles(result.ratios, n=4)
        same = "same bits" if result.same_weights else f"within {result.furthest:.0e}"
        print(
            f"{name:30} {time:9.1f} {time - baseline:+9.1f} {ratio:7.3f} "
            f"{low:7.3f} to {high:.3f}  {same}"
        )


def missed(results: dict[str, Measured]) -> list[str]:
    """Name the targets that were missed."""
    lines = [
        f"{name}: {ratio:.3f}, the target is at most {target}"
        for name, target in TARGETS.items()
        if name in results and (ratio := statistics.median(results[name].ratios)) > target
    ]
    raw = statistics.median(results["raw"].times)
    lines += [
        f"{name}: {over:.1f} µs over raw, the target is at most {target}"
        for name, target in MICROSECONDS.items()
        if name in results and (over := statistics.median(results[name].times) - raw) > target
    ]
    lines += [
        f"{name}: other weights than raw"
        for name, r in results.items()
        if not r.same_weights and (r.furthest > ROUNDING or "recorded" not in name)
    ]
    return lines


def main() -> int:
    """Measure, print, and with ``--check`` judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--steps", type=int, default=500, help="timed steps of a round")
    parser.add_argument("--only", nargs="*", help="contestants whose name begins so, beside raw")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = contestants(arguments.device)
    if arguments.only:
        wanted = ("raw", *arguments.only)
        found = {name: train for name, train in found.items() if name.startswith(wanted)}
    results = measure(
        found, rounds=arguments.rounds, steps=arguments.steps, device=arguments.device
    )
    report(results)
    failures = missed(results) if arguments.check else []
    for line in failures:
        print(line)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
