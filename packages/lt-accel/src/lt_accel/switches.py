"""Switches: the settings of torch that hold for the whole process."""

import os
from dataclasses import dataclass
from typing import Literal, final

import torch

from lt_accel.spelling import suggestion


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Settings of torch that hold for the whole process, not for one run.

    A backend sets them in ``setup`` and does not set them back. None leaves one as it is.

    Attributes:
        deterministic: True for algorithms that give the same bits in every run, and an error where
            torch has none; ``"warn"`` for a warning instead; False for any algorithm.
        benchmark: whether cuDNN tries several algorithms and keeps the fastest. If None,
            ``deterministic`` turns it off.
    """

    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None

    def __post_init__(self) -> None:
        """Check the settings against their types and each other.

        Raises:
            TypeError: one is no bool where it must be.
            ValueError: one has no such value, or two contradict each other.
        """
        if self.deterministic not in (None, True, False, "warn"):
            raise ValueError(
                "deterministic is True, False or 'warn'. Received "
                f"deterministic={self.deterministic!r}."
                f"{suggestion(str(self.deterministic), ['warn'])}"
            )
        if self.benchmark not in (None, True, False):
            raise TypeError(f"benchmark is True or False. Received benchmark={self.benchmark!r}.")
        if self.deterministic not in (None, False, "warn") and self.benchmark:
            raise ValueError(
                "The algorithm that cuDNN finds fastest may change from run to run. Received "
                "deterministic=True and benchmark=True. Drop one of them."
            )

    def apply(self) -> None:
        """Set them, now and for the whole process."""
        benchmark = False if self.deterministic and self.benchmark is None else self.benchmark
        if benchmark is not None:
            torch.backends.cudnn.benchmark = benchmark
        if self.deterministic is not None:
            torch.use_deterministic_algorithms(
                bool(self.deterministic), warn_only=self.deterministic == "warn"
            )
        if self.deterministic:
            # cuBLAS reads it when it starts, and is deterministic only with a fixed workspace:
            # https://docs.nvidia.com/cuda/cublas/index.html#results-reproducibility
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
