"""The loggers of lt-callbacks, under the name that Lightning gives them.

Each is imported when it is first asked for, with the library it needs.
"""

from typing import TYPE_CHECKING, Any

import lt_callbacks

if TYPE_CHECKING:
    from lt_callbacks import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

__all__ = ["CSVLogger", "Logger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"lt.loggers has {', '.join(__all__)}. Received {name!r}.")
    return getattr(lt_callbacks, name)
