"""The newest checkpoint is damaged: that is noticed, named, and the one before is used."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import DamagedCheckpointError, FolderStore

FILES = ("manifest.json", "state.json", "model.safetensors", "state.safetensors")


def state(step: int) -> dict[str, Any]:
    torch.manual_seed(step)
    return {
        "global_step": step,
        "epoch": step,
        "state_dict": {"w": torch.randn(20, 30), "b": torch.randn(30)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.randn(20, 30), "step": step}}}],
        "callbacks": {"a": {"text": "x" * 50, "numbers": [0.5] * 20}},
    }


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(tmp_path)
    for step in (1, 2):
        made.save(state(step), f"{step}.ckpt")
    made.close()
    return made


def assert_noticed(store: FolderStore) -> None:
    with pytest.warns(UserWarning, match=r"2\.ckpt is damaged"):
        assert store.load("last")["global_step"] == 1
    for read in (store.load, store.verify):
        with pytest.raises(DamagedCheckpointError, match=r"2\.ckpt is damaged"):
            read("2.ckpt")


@pytest.mark.parametrize("file", FILES)
def test_truncated(
    file: str, store: FolderStore, instants: Callable[[int, int], range], chance: random.Random
) -> None:
    path = Path(store.root, "2.ckpt", file)
    whole = path.read_bytes()
    places = [0, 1, len(whole) - 1, *(chance.randrange(len(whole)) for _ in instants(17, 500))]
    for place in places:
        path.write_bytes(whole[:place])
        assert_noticed(store)


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit(
    file: str, store: FolderStore, instants: Callable[[int, int], range], chance: random.Random
) -> None:
    path = Path(store.root, "2.ckpt", file)
    whole = path.read_bytes()
    for _ in instants(20, 500):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(flipped))
        assert_noticed(store)


@pytest.mark.parametrize("file", FILES)
def test_longer_by_a_byte(file: str, store: FolderStore) -> None:
    path = Path(store.root, "2.ckpt", file)
    path.write_bytes(path.read_bytes() + b"\n")
    assert_noticed(store)


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_missing_or_something_else(file: str, store: FolderStore) -> None:
    path = Path(store.root, "2.ckpt", file)
    path.unlink()
    assert_noticed(store)
    path.mkdir()
    assert_noticed(store)
    path.rmdir()
    path.symlink_to(Path(store.root, "1.ckpt", file))
    assert_noticed(store)
    path.unlink()
    os.mkfifo(path)
    assert_noticed(store)


def test_the_files_of_another_one(store: FolderStore) -> None:
    for file in ("state.json", "state.safetensors", "model.safetensors"):
        shutil.copy(Path(store.root, "1.ckpt", file), Path(store.root, "2.ckpt", file))
    assert_noticed(store)


def test_emptied(store: FolderStore) -> None:
    for file in FILES:
        Path(store.root, "2.ckpt", file).unlink()
    assert_noticed(store)


def test_replaced_by_a_file(store: FolderStore) -> None:
    shutil.rmtree(Path(store.root, "2.ckpt"))
    Path(store.root, "2.ckpt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.warns(UserWarning, match=r"2\.ckpt is damaged"):
        assert store.load("last")["global_step"] == 1
    with pytest.raises(ValueError, match=r"2\.ckpt"):
        store.load("2.ckpt")


def test_half_deleted_it_is_not_taken_for_one(store: FolderStore) -> None:
    """What is being deleted has lost its name before it loses its first file."""
    store.save(state(3), "3.ckpt")
    gone = [name for name in os.listdir(store.root) if name.startswith(".gone")]
    assert gone == []
    os.rename(Path(store.root, "3.ckpt"), Path(store.root, ".gone-x-3.ckpt"))
    assert store.load("last")["global_step"] == 2
