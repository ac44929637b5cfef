"""A conformance kit for each port: every promise of its docstrings, as a test.

Whoever writes a backend, a world, a feed or a store derives one class and says how theirs is made::

    class TestMine(BackendConformance):
        make = staticmethod(lambda: MyBackend())
        ...  # what a program and a batch of its kind are

pytest collects it as it is; for unittest, derive it from ``unittest.TestCase`` too. The kits need
the standard library alone and know neither. A promise that yours does not make is left out by
name, ``test_... = None``, so that whoever reads your tests sees it.
"""

from lt_loop.conformance.backend import BackendConformance
from lt_loop.conformance.feed import FeedConformance
from lt_loop.conformance.promises import failures, promises
from lt_loop.conformance.sameness import same
from lt_loop.conformance.store import StoreConformance
from lt_loop.conformance.world import WorldConformance

__all__ = [
    "BackendConformance",
    "FeedConformance",
    "StoreConformance",
    "WorldConformance",
    "failures",
    "promises",
    "same",
]
