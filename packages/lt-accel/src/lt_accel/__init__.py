"""Device, precision and gradients for a training loop in PyTorch."""

from lt_accel.backend import TorchBackend
from lt_accel.moving import move
from lt_accel.precision import Precision
from lt_accel.randomness import isolate_rng, seed_everything
from lt_accel.selection import Selection, select
from lt_accel.switches import Switches
from lt_accel.world import SingleProcess

__all__ = [
    "Precision",
    "Selection",
    "SingleProcess",
    "Switches",
    "TorchBackend",
    "isolate_rng",
    "move",
    "seed_everything",
    "select",
]
