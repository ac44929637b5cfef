"""Every real implementation keeps the promises of its port: the kits of lt-loop, filled in.

lt-accel and lt-data know nothing of lt-loop, so the kits meet them here. The defaults of lt-loop
are held by its own tests. ``NoStore`` is no store: it keeps nothing, and says so.
"""

import copy
import datetime
import gc
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lt_accel import SingleProcess, TorchBackend, isolate_rng, select
from lt_checkpoint import FolderStore
from lt_data import TorchFeed
from lt_loop.conformance import (
    BackendConformance,
    FeedConformance,
    StoreConformance,
    WorldConformance,
    failures,
)


class Network(nn.Module):
    """Two layers, whose training step returns the loss in a dict."""

    def __init__(self) -> None:
        super().__init__()
        with isolate_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        x, y = batch
        return {"loss": nn.functional.mse_loss(self.layers(x), y)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.05)


class TorchKit(BackendConformance):
    draws = (random.random, np.random.random, lambda: torch.rand(()).item())
    program = staticmethod(Network)

    def batch(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(5, 3, generator=generator), torch.randn(5, 1, generator=generator)


class TestSinglePrecision(TorchKit):
    make = staticmethod(TorchBackend)


class TestSinglePrecisionWithoutInferenceMode(TorchKit):
    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend(inference_mode=False)


class TestDoublePrecision(TorchKit):
    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend("cpu", "64-true")


class TestBfloat16Mixed(TorchKit):
    tolerance = 0.02  # bfloat16 keeps 8 bits

    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend("cpu", "bf16-mixed")


class TestBfloat16(TorchKit):
    tolerance = 0.02

    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend("cpu", "bf16-true")


class TestFloat16(TorchKit):
    tolerance = 0.005  # float16 keeps 11 bits

    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend("cpu", "16-true")


class TestFloat16Mixed(TorchKit):
    """With a loss scaler."""

    tolerance = 0.005  # float16 keeps 11 bits
    # A scaler can't follow an optimizer that evaluates the loss itself, and is what looks for
    # gradients that are not finite.
    test_a_step_calls_the_closure = None
    test_a_gradient_that_is_not_finite_is_named = None

    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend("cpu", "16-mixed")

    def batch(self, index: int) -> Any:
        x, y = super().batch(index)
        return x / 10, y / 10  # else the scale that a scaler begins with is too much for float16


KITS: dict[str, type[TorchKit]] = {
    "32-true": TestSinglePrecision,
    "64-true": TestDoublePrecision,
    "bf16-mixed": TestBfloat16Mixed,
    "bf16-true": TestBfloat16,
    "16-mixed": TestFloat16Mixed,
    "16-true": TestFloat16,
}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("precision", KITS)
def test_two_ranks_keep_what_one_promises(precision: str, strategy: str) -> None:
    """The whole kit in each of two processes, with the backend that they share a program by."""
    chosen = select(accelerator="cpu", devices=2, strategy=strategy, precision=precision)

    class Kit(KITS[precision]):  # type: ignore[misc]
        make = staticmethod(partial(copy.copy, chosen.backend))

    def run() -> dict[str, str]:
        gc.freeze()  # each setup of DDP collects garbage; what was here before is none
        return {name: repr(error) for name, error in failures(Kit).items()}

    assert chosen.world.launch(lambda: chosen.world.gather(run())) == [{}, {}]


@pytest.mark.gpu
class TestCuda(TorchKit):
    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend("cuda")


@pytest.mark.gpu
class TestCudaBfloat16Mixed(TestBfloat16Mixed):
    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend("cuda", "bf16-mixed")


@pytest.mark.gpu
class TestCudaFloat16Mixed(TestFloat16Mixed):
    @staticmethod
    def make() -> TorchBackend:
        return TorchBackend("cuda", "16-mixed")


class TestOneProcess(WorldConformance):
    make = staticmethod(SingleProcess)


@pytest.mark.slow
class TestTwoProcesses(WorldConformance):
    """Started by the world, and talking through gloo."""

    @staticmethod
    def make() -> Any:
        return select(accelerator="cpu", devices=2, strategy="ddp").world


class TestListsOfBatches(FeedConformance):
    make = staticmethod(TorchFeed)


class Rows(IterableDataset[torch.Tensor]):
    """A data set without a length."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from torch.arange(13.0)


class LoaderKit(FeedConformance):
    shuffle = False

    @staticmethod
    def make() -> TorchFeed:
        return TorchFeed()

    def loader(self) -> Any:
        rows = TensorDataset(torch.arange(13.0))
        generator = torch.Generator().manual_seed(1) if self.shuffle else None
        return DataLoader(rows, batch_size=2, shuffle=self.shuffle, generator=generator)

    def unsized_loader(self) -> Any:
        return DataLoader(Rows(), batch_size=2)

    def samples(self, batch: Any) -> list[Any]:
        return torch.cat(list(batch)).tolist() if isinstance(batch, list) else batch.tolist()


class TestLoaders(LoaderKit):
    """A DataLoader in order."""


class TestShuffledLoaders(LoaderKit):
    shuffle = True


class TestFolders(StoreConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make(self) -> FolderStore:
        self.root = tempfile.mkdtemp(dir=self.folder)
        return FolderStore(self.root)

    def reopened(self, store: Any) -> FolderStore:
        return FolderStore(self.root)

    def values(self) -> dict[str, Any]:
        return {
            "tensors": {
                "float": torch.randn(3, 2),
                "half": torch.randn(5).bfloat16(),
                "whole": torch.arange(4),
                "flags": torch.tensor([True, False]),
                "empty": torch.zeros(0, 3),
                "number": torch.tensor(0.1, dtype=torch.float64),
                "generator": torch.get_rng_state(),
            },
            "arrays": [np.arange(6.0).reshape(2, 3), np.float32(0.1), np.random.get_state()],
            "more": [b"\x00\xff", {1, 2}, 1 + 2j, Path("a/b"), datetime.timedelta(seconds=90)],
            "of torch": [torch.float16, torch.device("cpu"), torch.Size([2, 3])],
        }
