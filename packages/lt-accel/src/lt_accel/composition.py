"""Composition: strategy and precision put together, and which of them don't go together."""

import torch

from lt_accel.precision import Precision
from lt_accel.replicated import Replicated
from lt_accel.sharding import Sharding, Unsharded
from lt_accel.strategies import DDP, FSDP, Strategy, TensorParallel
from lt_accel.world import SingleProcess, TorchWorld


def sharding_for(
    strategy: Strategy | None,
    world: SingleProcess | TorchWorld,
    *,
    precision: Precision,
    sync_batchnorm: bool,
) -> Sharding:
    """Return how a program is spread.

    Raises:
        TypeError: there is no such strategy.
        ValueError: strategy, precision, device and torch don't go together.
    """
    if isinstance(world, SingleProcess):
        return Unsharded()
    kind = world.devices[0].type
    if sync_batchnorm and kind == "cpu":
        raise ValueError(
            "torch shares batch statistics between GPUs only. Received sync_batchnorm=True and "
            "accelerator='cpu'. Drop one of them."
        )
    if isinstance(strategy, DDP):
        return Replicated(strategy, world, sync_batchnorm=sync_batchnorm)
    if sync_batchnorm:
        raise ValueError(
            "sync_batchnorm converts a program that each rank holds whole. Received "
            f"sync_batchnorm=True and {type(strategy).__name__}. Use strategy='ddp', or convert it "
            "in configure_model."
        )
    from lt_accel import sharded  # noqa: PLC0415 - half of importing torch, for these two alone

    if not sharded.AVAILABLE:
        raise ValueError(
            f"{type(strategy).__name__} needs torch 2.6 or newer. Received torch "
            f"{torch.__version__}. Upgrade it, or use strategy='ddp'."
        )
    if isinstance(strategy, FSDP):
        if strategy.mixed_precision is not None:
            sharded.check_policy(strategy.mixed_precision)
        _check_fsdp(strategy, world, precision)
        return sharded.FullySharded(strategy, world, precision)
    if isinstance(strategy, TensorParallel):
        return sharded.ByPlan(strategy, world)
    raise TypeError(f"There is no sharding for {type(strategy).__name__}. Use DDP().")


def _check_fsdp(strategy: FSDP, world: TorchWorld, precision: Precision) -> None:
    kind, mesh = world.devices[0].type, strategy.device_mesh
    if strategy.cpu_offload and kind == "cpu":
        raise ValueError(
            "cpu_offload brings parameters from the host to a GPU. Received cpu_offload=True and "
            "accelerator='cpu'. Drop one of them."
        )
    if strategy.mixed_precision is not None and precision.name != "32-true":
        raise ValueError(
            "mixed_precision says in which dtypes FSDP computes. Received "
            f"{strategy.mixed_precision} and precision={precision.name!r}. Drop one of them."
        )
    if mesh is not None and mesh[0] * mesh[1] != world.world_size:
        raise ValueError(
            "device_mesh is (replicas, shards), which multiply to the number of processes. "
            f"Received device_mesh={mesh} and {world.world_size} processes. Change one of them."
        )
