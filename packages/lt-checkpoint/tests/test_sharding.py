"""Tensors in parts: two processes save, one or three load."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import load, verify
from lt_checkpoint.errors import DamagedCheckpointError
from lt_checkpoint.sharding import Shard, assembled

RANK = """
import os, sys
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from lt_checkpoint import FolderStore

rank, folder, rendezvous = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method="file://" + rendezvous, rank=rank, world_size=4)

class World:
    world_size = 4
    def __init__(self): self.rank = rank
    def gather(self, obj):
        found = [None] * 4
        dist.all_gather_object(found, obj)
        return found

flat = init_device_mesh("cpu", (4,))
square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
torch.manual_seed(0)
def whole(*shape): return torch.arange(float(torch.Size(shape).numel())).reshape(shape)
state = {
    "global_step": 1,
    "state_dict": {
        "even": distribute_tensor(whole(8, 3), flat, [Shard(0)]),
        "uneven": distribute_tensor(whole(5, 2), flat, [Shard(0)]),
        "small": distribute_tensor(whole(2), flat, [Shard(0)]),
        "columns": distribute_tensor(whole(3, 8), flat, [Shard(1)]),
        "copies": distribute_tensor(whole(3, 2), flat, [Replicate()]),
        "hybrid": distribute_tensor(whole(6, 2), square, [Replicate(), Shard(0)]),
        "both": distribute_tensor(whole(7, 5), square, [Shard(0), Shard(1)]),
        "plain": whole(3),
    },
    "optimizer_states": [{"state": {0: {
        "exp_avg": distribute_tensor(whole(8, 3) + 1, flat, [Shard(0)]),
        "step": torch.tensor(3.0),
    }}}],
    "rng": torch.full((2,), rank),
    "per_rank": [["rng"]],
}
store = FolderStore(folder)
store.save(state, "a.ckpt", world=World())
again = store.load("a.ckpt", world=World())
assert torch.equal(again["rng"], state["rng"])
assert torch.equal(again["state_dict"]["uneven"], whole(5, 2))
dist.destroy_process_group()
"""


def whole(*shape: int) -> torch.Tensor:
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


@pytest.mark.slow
def test_parts_of_four_processes_are_whole_in_one(tmp_path: Path, alike: Any) -> None:
    (tmp_path / "rank.py").write_text(RANK)
    ranks = [
        subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                tmp_path / "rank.py",
                str(rank),
                tmp_path / "run",
                tmp_path / "meet",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(4)
    ]
    try:
        for rank in ranks:
            _, error = rank.communicate(timeout=90)
            assert rank.returncode == 0, error
    finally:
        for rank in ranks:
            rank.kill()
    found = load(tmp_path / "run" / "a.ckpt")
    shapes = {
        "even": (8, 3),
        "uneven": (5, 2),
        "small": (2,),
        "columns": (3, 8),
        "copies": (3, 2),
        "hybrid": (6, 2),
        "both": (7, 5),
        "plain": (3,),
    }
    assert alike(found["state_dict"], {name: whole(*shape) for name, shape in shapes.items()})
    moments = found["optimizer_states"][0]["state"][0]
    assert alike(moments, {"exp_avg": whole(8, 3) + 1, "step": torch.tensor(3.0)})
    manifest = verify(tmp_path / "run" / "a.ckpt")
    sizes = [manifest.files[f"rank-{rank}.safetensors"].size for rank in range(4)]
    assert max(sizes) < 2 * sum(sizes) / 4, "each writes about a fourth"


def part(offset: tuple[int, ...], *shape: int) -> Shard:
    return Shard(offset, torch.ones(shape))


@pytest.mark.parametrize(
    "shards",
    [
        [],
        [part((0, 0), 2, 3)],
        [part((0, 0), 2, 3), part((3, 0), 2, 3)],
        [part((-1, 0), 4, 3)],
        [part((0, 0), 4, 4)],
        [part((0,), 12)],
        [Shard((0, 0), torch.ones(4, 3, dtype=torch.float64))],
    ],
)
def test_parts_that_do_not_fill_the_whole_are_refused(shards: list[Shard]) -> None:
    with pytest.raises((DamagedCheckpointError, ValueError)):
        assembled([4, 3], torch.float32, shards, limit=10**6)


def test_a_whole_that_its_parts_could_not_fill_is_not_allocated() -> None:
    with pytest.raises(DamagedCheckpointError, match="have 48 bytes"):
        assembled([2**40, 3], torch.float32, [part((0, 0), 4, 3)], limit=48)
