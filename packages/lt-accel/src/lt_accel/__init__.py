"""Device, precision, processes and sharding for a training loop in PyTorch."""

from lt_accel.backend import TorchBackend
from lt_accel.failures import RankError
from lt_accel.moving import move
from lt_accel.precision import Precision
from lt_accel.randomness import isolate_rng, seed_everything
from lt_accel.rank_zero import rank_zero_only
from lt_accel.selection import Selection, select
from lt_accel.strategies import (
    DDP,
    FSDP,
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    TensorParallel,
)
from lt_accel.switches import Switches
from lt_accel.world import SingleProcess, TorchWorld

__all__ = [
    "DDP",
    "FSDP",
    "DDPStrategy",
    "FSDPStrategy",
    "ModelParallelStrategy",
    "Precision",
    "RankError",
    "Selection",
    "SingleProcess",
    "Switches",
    "TensorParallel",
    "TorchBackend",
    "TorchWorld",
    "isolate_rng",
    "move",
    "rank_zero_only",
    "seed_everything",
    "select",
]
