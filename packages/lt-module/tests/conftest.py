"""A trainer that notes what a module asks of it."""

from types import SimpleNamespace
from typing import Any

import pytest


class Recorder:
    """The surface that a module expects of its trainer."""

    current_epoch, global_step, global_rank, local_rank = 3, 70, 0, 0

    def __init__(self) -> None:
        self.logged: list[tuple[Any, ...]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.loggers = ["first", "second"]
        self.optimizers: list[Any] = []
        self.stepped_optimizers: list[Any] = []
        self.lr_scheduler_configs: list[SimpleNamespace] = []

    def log(self, *arguments: Any) -> None:
        self.logged.append(arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.asked.append((name, *arguments))


@pytest.fixture
def trainer() -> Recorder:
    return Recorder()
