import json
import logging
import os
import random
import sys
from typing import Any

import pytest
import torch

from lt_accel import isolate_rng, seed_everything
from lt_accel.randomness import capture_rng, restore_rng

CPU = torch.device("cpu")


def draw() -> list[float]:
    drawn = [random.random(), random.gauss(0, 1), *torch.rand(3).tolist(), float(torch.randn(()))]
    if "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        drawn += [float(numpy.random.rand()), float(numpy.random.randn())]
    return drawn


def fail() -> None:
    draw()
    raise LookupError


def test_the_same_seed_gives_the_same_numbers() -> None:
    pytest.importorskip("numpy")
    assert seed_everything(7) == 7
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert draw() != first


def test_a_seed_is_chosen_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lt_accel")
    seeds = {seed_everything() for _ in range(4)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert all(f"seed set to {seed}" in caplog.text for seed in seeds)
    caplog.clear()
    seed = seed_everything(verbose=False)
    assert not caplog.text
    first = draw()
    seed_everything(seed, workers=True)
    assert draw() == first


def test_the_environment_is_neither_read_nor_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    before = dict(os.environ)
    assert {seed_everything() for _ in range(3)} != {5}
    assert dict(os.environ) == before


@pytest.mark.parametrize("seed", ["42", 1.5, [1]])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(TypeError, match=r"whole number from 0 to 4294967295\. Received"):
        seed_everything(seed)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_lies_in_range(seed: int) -> None:
    with pytest.raises(ValueError, match=f"Received {seed}"):
        seed_everything(seed)


def test_a_seed_from_numpy_is_one() -> None:
    numpy = pytest.importorskip("numpy")
    seed = seed_everything(numpy.int64(3))
    assert type(seed) is int
    assert seed == 3


def test_isolation_puts_everything_back() -> None:
    seed_everything(1)
    expected = draw()
    seed_everything(1)
    with isolate_rng():
        seed_everything(99)
        draw()
    with pytest.raises(LookupError):
        isolate_rng("cpu")(fail)()
    assert draw() == expected


def test_what_was_captured_survives_json() -> None:
    seed_everything(1)
    random.gauss(0, 1)  # leaves a second number behind, which is part of the state
    state = capture_rng(CPU)
    expected = draw()
    torch_state = state.pop("torch")
    assert torch_state.dtype is torch.uint8
    read = {**json.loads(json.dumps(state)), "torch": torch_state}
    restore_rng(read, CPU)
    assert draw() == expected


def test_a_state_without_numpy_leaves_numpy_alone() -> None:
    numpy = pytest.importorskip("numpy")
    state = capture_rng(CPU)
    del state["numpy"]
    numpy.random.seed(5)
    expected = numpy.random.rand()
    numpy.random.seed(5)
    restore_rng(state, CPU)
    assert numpy.random.rand() == expected
