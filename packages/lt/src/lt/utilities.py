"""What scripts import from Lightning's module of this name."""

from lt_accel import rank_zero_only
from lt_data import CombinedLoader

__all__ = ["CombinedLoader", "rank_zero_only"]
