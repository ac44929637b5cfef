"""The defaults that Trainer takes."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lt_callbacks import CSVLogger, ModelSummary, TensorBoardLogger, TQDMProgressBar
from lt_callbacks.defaults import logger, model_summary, progress_bar
from lt_callbacks.extras import LIBRARIES
from lt_loop import Trainer
from lt_loop.solo import DuckBackend


def without(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    for library in LIBRARIES[extra]:
        monkeypatch.setitem(sys.modules, library, None)


def test_without_tqdm_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "tqdm")

    assert progress_bar() is None


def test_without_tensorboard_numbers_go_to_csv(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, "tensorboard")
    made = logger(tmp_path)

    assert type(made) is CSVLogger
    assert made.log_dir == str(tmp_path / "lightning_logs" / "version_0")


def test_without_torch_there_is_no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "summary")

    assert model_summary() is None


def test_with_torch_there_is_a_summary() -> None:
    pytest.importorskip("torch")

    assert type(model_summary()) is ModelSummary


def test_with_tqdm_there_is_a_bar() -> None:
    pytest.importorskip("tqdm")

    assert type(progress_bar()) is TQDMProgressBar


def test_with_tensorboard_numbers_go_there(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("torch")
    made = logger(tmp_path)

    assert type(made) is TensorBoardLogger
    assert made.log_dir == str(tmp_path / "lightning_logs" / "version_0")


def test_a_run_that_logs_nothing_leaves_nothing(scripted: Any, tmp_path: Path) -> None:
    trainer = Trainer(
        backend=DuckBackend(),
        max_epochs=1,
        logger=logger(tmp_path),
        enable_checkpointing=False,
        callbacks=progress_bar() or [],
    )

    trainer.fit(scripted(), [0, 1])

    assert list(tmp_path.iterdir()) == []
