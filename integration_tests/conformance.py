"""Every real implementation, assigned to its port: mypy holds the signatures, nothing runs."""

from lt_accel import SingleProcess, TorchBackend, select
from lt_data import TorchFeed
from lt_loop import Backend, Feed, Store, World
from lt_loop.ports import Select
from lt_loop.solo import DuckBackend, IterableFeed, NoStore, OneProcess

BACKENDS: tuple[Backend, ...] = (TorchBackend(), DuckBackend())
WORLDS: tuple[World, ...] = (SingleProcess(), OneProcess())
FEEDS: tuple[Feed, ...] = (TorchFeed(), IterableFeed())
STORES: tuple[Store, ...] = (NoStore(),)
SELECT: Select = select
