"""Seeds: random numbers that are a function of (seed, epoch, position), and of nothing else.

Python's ``random``, torch's generator of the CPU and, where it was imported, numpy's global one are
seeded. Generators of devices, and objects like ``numpy.random.default_rng()``, are the owner's.
"""

import random
import sys
from collections.abc import Sequence
from typing import Any, final

import torch

_MASK = (1 << 64) - 1

ORDER, SAMPLES, COLLATING, SAMPLER, WORKERS, BATCHES = range(1, 7)
"""What a word is for, so that no two uses share random numbers."""


def mixed(word: int, number: int) -> int:
    """Return 64 bits that depend on all bits of both: a step of SplitMix64.

    Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    word = ((word ^ (number & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


def word_of(*parts: int) -> int:
    """Return 64 bits for a list of numbers, as (seed, epoch).

    >>> word_of(1, 2) == word_of(1, 2), word_of(1, 2) == word_of(2, 1)
    (True, False)
    """
    word = 0
    for part in parts:
        word = mixed(word, part)
    return word


def seed_generators(word: int) -> None:
    """Seed the global generators, each with other bits: two of them are of the same kind."""
    random.seed(word)
    torch.default_generator.manual_seed(word >> 32)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(word & 0xFFFFFFFF)


def states(generators: Sequence[torch.Generator] = ()) -> tuple[Any, ...]:
    """Return where the global generators stand, and some more."""
    numpy = sys.modules.get("numpy")
    return (
        random.getstate(),
        torch.default_generator.get_state(),
        numpy.random.get_state(legacy=False) if numpy else None,
        [generator.get_state() for generator in generators],
    )


def put_back(before: tuple[Any, ...], generators: Sequence[torch.Generator] = ()) -> None:
    """Let the generators stand where they stood when :func:`states` was called."""
    python, default, numpy, others = before
    random.setstate(python)
    torch.default_generator.set_state(default)
    if numpy is not None:
        sys.modules["numpy"].random.set_state(numpy)
    for generator, state in zip(generators, others, strict=True):
        generator.set_state(state)


@final
class Apart:
    """Generators of one's own: what runs in this block draws from them, and from no other.

    The next block goes on where the last one ended; outside, the global generators stand as if
    there had been no block.
    """

    def __init__(self, word: int, generators: Sequence[torch.Generator] = ()) -> None:
        """Seed them.

        Args:
            word: the seed.
            generators: further ones that count as one's own in the block.
        """
        self._generators = generators
        self._word: int | None = word
        self._own: tuple[Any, ...] = ()
        self._outer: tuple[Any, ...] = ()

    def __enter__(self) -> None:
        self._outer = states(self._generators)
        if self._word is None:
            put_back(self._own, self._generators)
            return
        seed_generators(self._word)
        for number, generator in enumerate(self._generators, 1):
            generator.manual_seed(mixed(self._word, number))
        self._word = None

    def __exit__(self, *_: object) -> None:
        self._own = states(self._generators)
        put_back(self._outer, self._generators)
