"""The callbacks that write summaries."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks import ModelSummary, RichModelSummary, summarize
from lt_loop import Trainer
from lt_loop.solo import DuckBackend


class Program(nn.Sequential):
    trainer: Any = None

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1)))
        self.example_input_array = torch.zeros(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(*callbacks: Any) -> Trainer:
    return Trainer(
        backend=DuckBackend(),
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        max_epochs=1,
    )


BATCHES = [torch.ones(1, 2)]


@pytest.mark.parametrize("depth", [1, 2, -1])
def test_the_summary_is_written_once_when_a_fit_begins(
    depth: int, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(ModelSummary(depth)).fit(Program(), BATCHES, BATCHES)

    written = capsys.readouterr()
    assert written.out == f"{summarize(Program(), depth)}\n"
    assert written.err == ""


def test_a_depth_of_zero_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    trainer(ModelSummary(max_depth=0)).fit(Program(), BATCHES)

    assert capsys.readouterr().out == ""


def test_evaluation_has_no_summary(capsys: pytest.CaptureFixture[str]) -> None:
    trainer(ModelSummary()).validate(Program(), BATCHES, verbose=False)

    assert capsys.readouterr().out == ""


def test_the_trainer_takes_one_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    words: Any = {"backend": DuckBackend(), "logger": False, "enable_progress_bar": False}

    Trainer(max_epochs=1, enable_model_summary=True, **words).fit(Program(), BATCHES)

    assert capsys.readouterr().out == f"{summarize(Program())}\n"


@pytest.mark.parametrize("make", [ModelSummary, RichModelSummary])
def test_a_program_that_is_no_module_has_none(
    make: Any, scripted: Any, make_trainer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if make is RichModelSummary:
        pytest.importorskip("rich")

    make_trainer(make(), max_epochs=1).fit(scripted(), [0])

    assert capsys.readouterr().out == ""


def test_the_rich_one_shows_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "120")

    trainer(RichModelSummary(max_depth=2)).fit(Program(), BATCHES)

    written, summary = capsys.readouterr().out, summarize(Program(), 2)
    for name, cells in summary.columns.items():
        for text in (name, *cells):
            assert text in written
    for number, words in summary.totals:
        assert f"{words}: {number}" in written


def test_the_rich_one_takes_a_depth_of_zero(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")

    trainer(RichModelSummary(0)).fit(Program(), BATCHES)

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("make", [ModelSummary, RichModelSummary])
def test_a_bad_depth_is_refused_at_once(make: Any) -> None:
    if make is RichModelSummary:
        pytest.importorskip("rich")

    with pytest.raises(ValueError, match="Received max_depth=-3"):
        make(-3)
