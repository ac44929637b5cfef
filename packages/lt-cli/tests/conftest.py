"""A project in plain Python, in a folder of its own: a module, a datamodule, a callback."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lt_cli.command import main

TOY = '''
from typing import Any

from lt_loop import Callback

seen: list[Any] = []


class Loss:
    def __init__(self, owner: "Line", error: float) -> None:
        self.owner, self.error = owner, error

    def backward(self) -> None:
        self.owner.gradient += 2 * self.error


class Optimizer:
    """What the optimizers of this project have in common."""

    def __init__(self, parameters: Any, lr: float = 0.1) -> None:
        (self.owner,) = parameters
        self.lr = lr

    def zero_grad(self) -> None:
        self.owner.gradient = 0.0

    def step(self) -> None:
        self.owner.weight -= self.lr * self.owner.gradient


class Momentum(Optimizer):
    def __init__(self, parameters: Any, lr: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__(parameters, lr)
        self.momentum = momentum


class Halving:
    """A schedule: the learning rate is halved at each step."""

    def __init__(self, optimizer: Optimizer, factor: float = 0.5) -> None:
        self.optimizer, self.factor = optimizer, factor

    def step(self) -> None:
        self.optimizer.lr *= self.factor

    def get_last_lr(self) -> list[float]:
        return [self.optimizer.lr]


class Line:
    """A line through the origin.

    Args:
        weight: where it starts.
        goal: where it should end.
        batch_size: what it is told about the data.
    """

    def __init__(self, weight: float = 0.0, goal: float = 1.0, batch_size: int = 0) -> None:
        self.weight, self.goal, self.batch_size, self.gradient = weight, goal, batch_size, 0.0
        seen.append(self)

    def parameters(self) -> list["Line"]:
        return [self]

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        return Loss(self, self.weight - self.goal)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        seen.append("validated")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        seen.append("tested")

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch

    def configure_optimizers(self) -> Optimizer:
        return Optimizer([self])


class Undecided(Line):
    configure_optimizers = None


class Data:
    """Four batches.

    Args:
        batch_size: numbers in each.
    """

    def __init__(self, batch_size: int, offset: float = 0.0) -> None:
        self.batch_size, self.offset = batch_size, offset
        seen.append(self)

    def batches(self) -> list[list[float]]:
        return [[float(i) + self.offset] * self.batch_size for i in range(4)]

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = batches


class Patience(Callback):
    """Counts batches."""

    def __init__(self, patience: int, names: list[str] | None = None) -> None:
        self.patience, self.names, self.count = patience, names, 0
        seen.append(self)

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.count += 1


class Lines(Callback):
    """A logger with a folder."""

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir

    def on_log(self, metrics: Any, step: int) -> None:
        pass


class Failing(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        raise ValueError("the user's own")


class Unmade(Line):
    def __init__(self) -> None:
        raise ValueError("the user's own, when it is made")


class Impatient(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        raise KeyboardInterrupt
'''

# Plain numbers in every environment, whatever else is installed.
PLAIN = """
seed_everything: 1
trainer:
  backend: {class_path: lt_loop.solo.DuckBackend}
  feed: null
  max_epochs: 2
  logger: false
  enable_progress_bar: false
  enable_checkpointing: false
  enable_model_summary: false
"""

RUN = (
    PLAIN
    + """
model:
  class_path: toy.Line
  init_args: {weight: 3.0}
data:
  class_path: toy.Data
  init_args: {batch_size: 2}
"""
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with toy.py, plain.yaml (a trainer) and run.yaml (all of a run), and we in it."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "plain.yaml").write_text(PLAIN)
    (tmp_path / "run.yaml").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


Lt = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lt(capsys: pytest.CaptureFixture[str]) -> Lt:
    """``lt(*words)`` runs the command; returns its exit code, what it printed, and its errors."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        out, err = capsys.readouterr()
        return int(code), out, err

    return run
