"""The callbacks of lt-callbacks, under the name that Lightning gives them.

Each is imported when it is first asked for, with the library it needs.
"""

from typing import TYPE_CHECKING, Any

import lt_callbacks
from lt_loop import Callback

if TYPE_CHECKING:
    from lt_callbacks import EarlyStopping, GradientCheck, Preemption, TQDMProgressBar

__all__ = ["Callback", "EarlyStopping", "GradientCheck", "Preemption", "TQDMProgressBar"]


def __getattr__(name: str) -> Any:
    return getattr(lt_callbacks, name)
