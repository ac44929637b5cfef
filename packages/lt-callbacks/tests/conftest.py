"""Programs in plain Python that train nothing, trainers for them, and a terminal to look at."""

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from lt_loop import Trainer
from lt_loop.solo import DuckBackend


class Loss:
    def backward(self) -> None:
        pass


class Still:
    """An optimizer of nothing."""

    def step(self) -> None:
        pass

    def zero_grad(self) -> None:
        pass


class Scripted:
    """Logs what it is told: in epoch e the e-th of the values given for a name.

    Names that begin with ``val_`` are logged in validation, ``test_`` in test, others in training.
    """

    trainer: Any = None

    def __init__(self, **values: Sequence[float]) -> None:
        self.values = values

    def _log(self, *prefixes: str, **flags: Any) -> None:
        for name, values in self.values.items():
            known = [p for p in ("val_", "test_") if name.startswith(p)] or ["train_"]
            if known[0] in prefixes:
                epoch = min(self.trainer.current_epoch, len(values) - 1)
                self.trainer.log(name, float(values[epoch]), batch_size=1, **flags)

    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        self._log("train_", on_step=True, on_epoch=True, prog_bar=True)
        return Loss()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._log("val_", prog_bar=True)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._log("test_")

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return batch

    def configure_optimizers(self) -> Still:
        return Still()


@pytest.fixture
def scripted() -> Callable[..., Scripted]:
    return Scripted


@pytest.fixture
def make_trainer() -> Callable[..., Trainer]:
    """A Trainer of lt-loop alone, whatever else is installed."""

    def make(*callbacks: Any, **words: Any) -> Trainer:
        quiet = {"enable_progress_bar": None, "enable_checkpointing": False}
        if not any(c.role == "model_summary" for c in callbacks):
            quiet["enable_model_summary"] = False
        words = {"max_epochs": 20, "num_sanity_val_steps": 0} | quiet | words
        if words["enable_progress_bar"] is None:
            words["enable_progress_bar"] = any(c.role == "progress_bar" for c in callbacks)
        return Trainer(backend=DuckBackend(), logger=False, callbacks=list(callbacks), **words)

    return make


class Screen:
    """A terminal: what is written to it, as it would look."""

    encoding = "utf-8"
    width: int | None = 80

    def __init__(self) -> None:
        self.cells: list[list[str]] = [[]]
        self.row = self.column = self.writes = 0

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        pass

    def write(self, text: str) -> int:
        self.writes += 1
        for piece in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|.|\n", text, re.DOTALL):
            if piece.startswith("\x1b["):
                self._control(piece[2:-1], piece[-1])
            elif piece == "\r":
                self.column = 0
            elif piece == "\n":
                self.row, self.column = self.row + 1, 0
            else:
                self._put(piece)
        return len(text)

    def _control(self, argument: str, command: str) -> None:
        """Move up or clear a line; colours and the cursor's look are not seen."""
        if command == "A":
            self.row = max(0, self.row - int(argument or 1))
        elif command == "K" and self.row < len(self.cells):
            self.cells[self.row] = [] if argument == "2" else self.cells[self.row][: self.column]

    def _put(self, character: str) -> None:
        self.cells += [[] for _ in range(self.row + 1 - len(self.cells))]
        line = self.cells[self.row]
        line += " " * (self.column + 1 - len(line))
        line[self.column] = character
        self.column += 1

    @property
    def lines(self) -> list[str]:
        """The lines, without blank ones at the end."""
        found = ["".join(line).rstrip() for line in self.cells]
        while found and not found[-1]:
            found.pop()
        assert self.width is None or max(map(len, found), default=0) <= self.width, "too wide"
        return found


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal behind standard output and standard error."""
    pytest.importorskip("tqdm")
    made = Screen()
    streams = SimpleNamespace(stdout=made, stderr=made)  # those of sys are pytest's
    for module in ("bar", "progress_bar", "terminal_bar", "tqdm_progress_bar"):
        monkeypatch.setattr(f"lt_callbacks.{module}.sys", streams)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda stream: (made.width, 30))
    return made


class Clock:
    """Stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the bars."""
    pytest.importorskip("tqdm")
    made = Clock()
    monkeypatch.setattr("tqdm.std.time", made)
    monkeypatch.setattr("lt_callbacks.bar.monotonic", made)
    if find_spec("rich"):
        monkeypatch.setattr("lt_callbacks.rich_bars.monotonic", made)
    monkeypatch.setattr("lt_callbacks.progress_bar.monotonic", made)
    return made


@pytest.fixture
def slow(scripted: Any, clock: Clock) -> Any:
    """Programs whose steps take half a second each."""

    class Slow(scripted):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            clock.seconds += 0.5
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            clock.seconds += 0.5
            super().validation_step(batch, batch_idx)

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            clock.seconds += 0.5
            super().test_step(batch, batch_idx, dataloader_idx)

    return Slow
