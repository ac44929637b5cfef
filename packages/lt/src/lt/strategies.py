"""How a model is spread over processes, under the names that Lightning gives it.

``Trainer(strategy=...)`` takes a name or one of these.
"""

from lt_accel import (
    DDP,
    FSDP,
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    TensorParallel,
)

__all__ = [
    "DDP",
    "FSDP",
    "DDPStrategy",
    "FSDPStrategy",
    "ModelParallelStrategy",
    "TensorParallel",
]
