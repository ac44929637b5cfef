"""Ranks that are threads, and comparing states."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch


def same(a: Any, b: Any) -> bool:
    """Whether two states are alike bit for bit, types included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and bool(
                torch.equal(
                    a.contiguous().flatten().view(torch.uint8) if a.numel() else a,
                    b.contiguous().flatten().view(torch.uint8) if b.numel() else b,
                )
            )
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a).__module__ == "numpy":
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b) or a != a


class ThreadWorld:
    """One of several ranks in one process, each a thread."""

    def __init__(self, rank: int, world_size: int, shared: "Shared") -> None:
        self.rank, self.world_size, self._shared = rank, world_size, shared
        self.local_rank = rank

    def gather(self, obj: Any) -> Sequence[Any]:
        shared = self._shared
        shared.slots[self.rank] = obj
        shared.barrier.wait()
        found = list(shared.slots)
        shared.barrier.wait()
        return found

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return self.gather(obj)[src]

    def barrier(self) -> None:
        self.gather(None)

    def beside(self) -> "ThreadWorld":
        channels = [Shared(self.world_size) if self.rank == 0 else None]
        shared = self.broadcast(channels[0])
        return ThreadWorld(self.rank, self.world_size, shared)

    def close(self) -> None:
        self._shared.barrier.abort()


class Shared:
    def __init__(self, size: int) -> None:
        self.slots: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=30)


def on_ranks(size: int, main: Callable[[ThreadWorld], Any]) -> list[Any]:
    """What ``main`` returned on each rank; an exception instead where it raised one."""
    shared, found = Shared(size), [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = main(ThreadWorld(rank, size, shared))
        except Exception as error:
            found[rank] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a rank hangs"
    return found


@pytest.fixture
def ranks() -> Callable[..., list[Any]]:
    return on_ranks


@pytest.fixture
def alike() -> Callable[[Any, Any], bool]:
    return same


@pytest.fixture
def state() -> dict[str, Any]:
    """A state in Lightning's shape."""
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(5, 4)).pow(2).sum().backward()
    optimizer.step()
    return {
        "epoch": 2,
        "global_step": 17,
        "state_dict": dict(model.state_dict()),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.1, "layers": [4, 3]},
        "callbacks": {"EarlyStopping": {"best_score": float("inf"), "wait_count": 0}},
        "loops": {"progress": {"steps": 17}},
        "backend": {"rng": {"torch": torch.get_rng_state()}},
    }
