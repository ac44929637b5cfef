"""Seeding: by what is announced, else whatever is imported."""

import random
import sys
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from lt_cli import seeding


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was seeded with what; a torch and a numpy that only note it are imported."""
    calls: list[Any] = []
    note = lambda name: lambda seed: calls.append((name, seed))  # noqa: E731
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(manual_seed=note("torch")))
    numpy = SimpleNamespace(random=SimpleNamespace(seed=note("numpy")))
    monkeypatch.setitem(sys.modules, "numpy", numpy)
    return calls


def announce(monkeypatch: pytest.MonkeyPatch, *points: Any) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda group: list(points))


def test_what_is_imported_is_seeded(seeded: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch)
    seeding.seed_everything(5)
    assert sorted(seeded) == [("numpy", 5), ("torch", 5)]
    drawn = random.random()
    random.seed(5)
    assert drawn == random.random()


def test_the_package_that_knows_how_does_it(
    seeded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = lambda: lambda seed: seeded.append(("announced", seed))  # noqa: E731
    announce(monkeypatch, SimpleNamespace(name="torch", load=load))
    seeding.seed_everything(5)
    assert seeded == [("announced", 5)]


def test_without_torch_nothing_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    def load() -> None:
        raise AssertionError("lt-accel imports torch")

    announce(monkeypatch, SimpleNamespace(name="torch", load=load))
    seeding.seed_everything(5)


def test_a_seed_that_nobody_chose_is_in_range() -> None:
    seeds = {seeding.choose_seed() for _ in range(20)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**32 for seed in seeds)
