"""What one rank does for all of them, where no trainer is at hand to ask."""

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar, overload

import torch.distributed as dist

from lt_accel.environment import rank_of
from lt_accel.membership import is_up

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")


@overload
def rank_zero_only(fn: Callable[P, T]) -> Callable[P, T | None]: ...
@overload
def rank_zero_only(fn: Callable[P, T], default: D) -> Callable[P, T | D]: ...
def rank_zero_only(fn: Callable[P, T], default: object = None) -> Callable[P, object]:
    """Make of a function one that is called on rank 0; elsewhere it returns ``default``.

    Which rank this process is, is looked up at each call: in torch's process group, or, before
    there is one, in what a launcher (torchrun, Slurm, MPI) says. A process alone is rank 0.

    >>> @rank_zero_only
    ... def told(text):
    ...     return f"rank 0 says: {text}"
    >>> told("hello")
    'rank 0 says: hello'
    """

    @functools.wraps(fn)
    def on_rank_zero(*args: P.args, **kwargs: P.kwargs) -> object:
        return fn(*args, **kwargs) if _rank() == 0 else default

    return on_rank_zero


def _rank() -> int:
    return dist.get_rank() if is_up() else rank_of(os.environ)
