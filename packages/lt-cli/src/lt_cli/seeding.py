"""Seeding: by the package that knows how, as far as one is installed."""

import random
import sys
from importlib import metadata

GROUP = "lt.seeding"
"""The group of entry points under which a package announces its ``seed_everything``."""


def choose_seed() -> int:
    """Return a seed nobody chose, from 0 to 2**32 - 1."""
    return random.SystemRandom().randrange(2**32)


def seed_everything(seed: int) -> None:
    """Seed python's generator and those of the libraries that are imported.

    What lt-accel announces does so where it is installed, and numpy and torch are imported by it.
    """
    announced = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if "torch" in announced and "torch" in sys.modules:
        announced["torch"].load()(seed)
        return
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)
