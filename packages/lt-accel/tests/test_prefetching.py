from typing import Any

import torch

from lt_accel import TorchBackend
from lt_accel.prefetching import prefetched


def test_on_a_cpu_batches_are_placed_as_they_come() -> None:
    """None is read before it is asked for: reading ahead would only cost memory."""
    read: list[int] = []

    def batches() -> Any:
        for index in range(3):
            read.append(index)
            yield torch.tensor([float(index)])

    stream = TorchBackend("cpu", "64-true").prefetch(batches())
    assert read == []
    first = next(stream)
    assert (read, first.dtype, float(first)) == ([0], torch.float64, 0.0)
    assert [float(batch) for batch in stream] == [1.0, 2.0]


def test_it_is_a_map() -> None:
    assert list(prefetched([1, 2], lambda batch: batch + 1, torch.device("cpu"))) == [2, 3]
