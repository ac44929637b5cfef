"""What does a batch cost, read through lt-data, beside the same batch of the plain DataLoader?

Both read the same samples in the same batches, in rounds: in each round everybody reads an epoch,
in turn, and is compared with the DataLoader of that round. What is printed are medians over the
rounds. The batches of both are compared, to the bit, before the clock starts.

    python tools/bench/loader.py               # all kinds of data
    python tools/bench/loader.py --rounds 5    # sooner, and less exact
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from lt_data import LoaderStream
from lt_data.settings import Settings

SAMPLES, BATCH = 2048, 32


class Rows(Dataset[Any]):
    """Cheap samples, of which nobody knows that they draw nothing: each is seeded."""

    def __init__(self) -> None:
        self.x = torch.randn(SAMPLES, 32)

    def __getitem__(self, index: int) -> Any:
        return self.x[index], index

    def __len__(self) -> int:
        return SAMPLES


class Cropped(Rows):
    """Images that are cropped, flipped and normalized, at random but for the benchmark's sake."""

    def __init__(self) -> None:
        self.x = torch.randint(0, 255, (SAMPLES, 3, 40, 40), dtype=torch.uint8)

    def __getitem__(self, index: int) -> Any:
        image = self.x[index, :, 4:36, 4:36].flip(-1).float().div_(255)
        return (image - 0.45) / 0.22, index


def tensors() -> TensorDataset:
    return TensorDataset(torch.randn(SAMPLES, 32), torch.arange(SAMPLES))


def half() -> Subset[Any]:
    return Subset(tensors(), torch.randperm(SAMPLES)[: SAMPLES // 2].tolist())


CASES: dict[str, Callable[[], Any]] = {
    "TensorDataset, in order": lambda: (tensors(), {}),
    "TensorDataset, shuffled": lambda: (tensors(), {"shuffle": True}),
    "subset of one, shuffled": lambda: (half(), {"shuffle": True}),
    "cheap samples, seeded": lambda: (Rows(), {"shuffle": True}),
    "images 32 x 32, seeded": lambda: (Cropped(), {"shuffle": True}),
    "images, two workers": lambda: (
        Cropped(),
        {"shuffle": True, "num_workers": 2, "persistent_workers": True},
    ),
    "a list of ready batches": lambda: ([*torch.randn(SAMPLES // BATCH, BATCH, 32)], None),
}


def read(batches: Iterable[Any]) -> float:
    """Return the µs per batch of an epoch."""
    count, begun = 0, time.perf_counter()
    for _ in batches:
        count += 1
    return (time.perf_counter() - begun) / count * 1e6


def same(ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Return whether all batches have the same bits, types and strides."""
    for one, other in zip(ours, theirs, strict=True):
        pairs = zip(one, other, strict=True) if isinstance(one, list) else [(one, other)]
        for x, y in pairs:
            if not (torch.equal(x, y) and x.dtype == y.dtype and x.stride() == y.stride()):
                return False
    return True


def measure(name: str, rounds: int) -> bool:
    """Print the line of one case, and return whether the batches were the same."""
    data, words = CASES[name]()
    if words is None:
        ours, plain, checked = data, data, data
    else:
        ours, plain = (DataLoader(data, batch_size=BATCH, **words) for _ in range(2))
        keys = DataLoader(TensorDataset(torch.arange(len(data))), BATCH, words.get("shuffle"))
        order = [batch[0].tolist() for batch in opened(keys).epoch(0)]  # as ours has it
        checked = DataLoader(data, batch_sampler=order)
    stream = opened(ours)
    alike = same(stream.epoch(0), checked)
    times: list[tuple[float, float]] = []
    for turn in range(rounds + 1):
        if turn % 2:
            here, there = read(stream.epoch(turn)), read(plain)
        else:
            there, here = read(plain), read(stream.epoch(turn))
        times.append((here, there))
    stream.close()
    times = times[1:]  # the first one warms up
    here, there = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    bits = "same bits" if alike else "DIFFERENT"
    print(f"{name:26} {here:10.2f} {there:10.2f} {ratio:8.3f}  {bits}")
    return alike


def opened(loader: Any) -> LoaderStream:
    return LoaderStream(loader, phase="train", settings=Settings(seed=1))


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(
        f"torch {torch.__version__}, batches of {BATCH}, µs per batch, medians of {rounds} rounds"
    )
    print(f"{'':26} {'lt-data':>10} {'DataLoader':>10} {'ratio':>8}")
    if not all([measure(name, rounds) for name in CASES]):
        raise SystemExit("Batches of lt-data differ from the DataLoader's.")


if __name__ == "__main__":
    main()
