"""RichProgressBar in real runs, on a terminal, as it looks."""

import io
import re
import sys
from typing import Any

import pytest

pytest.importorskip("rich")

from rich.progress import TextColumn

from lt_callbacks import RichProgressBar, RichProgressBarTheme
from lt_loop import Callback

BATCHES = list(range(10))


@pytest.fixture
def bar(screen: Any) -> Any:
    """Bars on the screen."""

    def make(**words: Any) -> RichProgressBar:
        console = {"file": screen, "force_terminal": True, "width": screen.width}
        kind = words.pop("kind", RichProgressBar)
        return kind(console_kwargs=console | words.pop("console", {}), **words)  # type: ignore[no-any-return]

    return make


class Looking(Callback):
    """Looks at the screen after each batch, when the bar has been drawn."""

    def __init__(self, screen: Any) -> None:
        self.screen = screen
        self.seen: dict[str, list[list[str]]] = {"train": [], "sanity": [], "validate": []}

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen["train"].append(self.screen.lines)

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        self.seen["sanity" if trainer.sanity_checking else "validate"].append(self.screen.lines)


def bars(line: str) -> str:
    """A line with its bar, whose width is what is left, as one character."""
    return re.sub("[━╸╺]+", "━", line)


def test_each_epoch_leaves_a_line(screen: Any, bar: Any, slow: Any, make_trainer: Any) -> None:
    screen.width = 100
    program = slow(loss=[4, 2], val_loss=[3, 1])

    make_trainer(bar(), max_epochs=2).fit(program, BATCHES, BATCHES[:2])

    assert [bars(line) for line in screen.lines] == [
        "Epoch 1/2 ━ 10/10 00:06 1.67it/s val_loss: 3.000 loss_epoch: 4.000",
        "Epoch 2/2 ━ 10/10 00:06 1.67it/s val_loss: 1.000 loss_epoch: 2.000",
    ]


def test_or_the_last_one_alone(screen: Any, bar: Any, slow: Any, make_trainer: Any) -> None:
    make_trainer(bar(leave=False), max_epochs=3).fit(slow(loss=[4, 2, 1]), BATCHES)

    assert [bars(line) for line in screen.lines] == [
        "Epoch 3/3 ━ 10/10 00:05 2.00it/s loss_epoch: 1.000"
    ]


def test_sanity_check_and_validation_are_seen_and_go(
    screen: Any, bar: Any, slow: Any, make_trainer: Any
) -> None:
    looking = Looking(screen)
    trainer = make_trainer(bar(), looking, max_epochs=1, num_sanity_val_steps=2)

    trainer.fit(slow(loss=[4], val_loss=[3]), BATCHES[:4], BATCHES[:4])

    seen = {kind: [[*map(bars, s)] for s in screens] for kind, screens in looking.seen.items()}
    assert seen["sanity"] == [
        ["Sanity check ━ 1/2 00:00 < 00:00 2.00it/s"],
        ["Sanity check ━ 2/2 00:01 2.00it/s"],
    ]
    assert seen["train"][0] == ["Epoch 1/1 ━ 1/4 00:00 < 00:01 2.00it/s loss_step: 4.000"]
    assert [line.split() for line in seen["validate"][1]] == [
        ["Epoch", "1/1", "━", "4/4", "00:03", "1.33it/s", "loss_step:", "4.000"],
        ["Validation", "━", "2/4", "00:01", "<", "00:01", "2.00it/s"],
    ]
    assert len(screen.lines) == 1


@pytest.mark.parametrize("width", range(22, 124, 6))
def test_a_narrow_terminal_shows_whole_numbers_or_none(
    screen: Any, bar: Any, slow: Any, make_trainer: Any, width: int
) -> None:
    screen.width = width
    looking = Looking(screen)
    program = slow(loss=[4], val_loss=[3])
    make_trainer(bar(), looking, max_epochs=1).fit(program, BATCHES, BATCHES[:2])

    seen = [*looking.seen["train"], *looking.seen["validate"], screen.lines]
    assert [len(lines) for lines in seen] == [1] * 10 + [2, 2, 1]
    assert all(len(line) <= width and "…" not in line for lines in seen for line in lines)
    shown = re.findall(r"(\w+): ([0-9.]*)", " ".join(screen.lines))
    assert set(shown) <= {("val_loss", "3.000"), ("loss_epoch", "4.000")}
    assert len(shown) == (2 if width >= 73 else 1 if width >= 60 else 0)


def test_loaders_without_a_length_are_counted(
    screen: Any, bar: Any, slow: Any, make_trainer: Any
) -> None:
    class Endless:
        def __iter__(self) -> Any:
            return iter(BATCHES)

    looking = Looking(screen)
    make_trainer(bar(), looking, max_epochs=1).fit(slow(loss=[4]), Endless())

    assert "5 00:02 2.00it/s loss_step: 4.000" in looking.seen["train"][4][0]
    assert "10 00:05 2.00it/s loss_epoch: 4.000" in screen.lines[0]


def test_a_resumed_epoch_goes_on_where_it_was(
    screen: Any, bar: Any, slow: Any, make_trainer: Any
) -> None:
    first = make_trainer(max_epochs=1)
    for progress in first.steps(slow(), BATCHES):
        if progress.steps == 6:
            state = first.capture()
            break
    looking = Looking(screen)
    make_trainer(bar(), looking, max_epochs=1).fit(slow(), BATCHES, ckpt_path=state)

    assert bars(looking.seen["train"][0][0]) == "Epoch 1/1 ━ 7/10 00:00 < 00:01 2.00it/s"
    assert bars(screen.lines[0]) == "Epoch 1/1 ━ 10/10 00:02 2.00it/s"


def test_an_exception_leaves_the_terminal_as_it_should_be(
    screen: Any, bar: Any, slow: Any, make_trainer: Any
) -> None:
    class Failing(slow):  # type: ignore[misc]
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                raise RuntimeError("out of luck")
            super().validation_step(batch, batch_idx)

    trainer = make_trainer(bar(), max_epochs=2)
    with pytest.raises(RuntimeError, match="out of luck"):
        trainer.fit(Failing(), BATCHES, BATCHES)
    before = [bars(line) for line in screen.lines]
    trainer.fit(slow(), BATCHES)

    assert before == ["Epoch 1/2 ━ 10/10 00:05 1.82it/s"]
    assert len(screen.lines) == 3
    assert sys.stdout is not screen


def test_results_are_shown(
    screen: Any, bar: Any, slow: Any, make_trainer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer(bar()).test(slow(test_acc=[0.25]), BATCHES)

    assert bars(screen.lines[0]) == "Testing ━ 10/10 00:05 2.00it/s"
    assert screen.lines[-2] == " test_acc       0.25"


def test_the_theme_and_the_columns_may_be_changed(
    screen: Any, bar: Any, slow: Any, make_trainer: Any
) -> None:
    class Mine(RichProgressBar):
        def configure_columns(self, trainer: Any) -> list[Any]:
            return [TextColumn("{task.description} of " + str(trainer.max_epochs))]

    theme = RichProgressBarTheme(metrics_text_delimiter=" | ", metrics_format=".1e")
    program = slow(loss=[4], val_loss=[3])
    make_trainer(bar(kind=Mine, theme=theme), max_epochs=1).fit(program, BATCHES, BATCHES[:2])

    assert screen.lines == ["Epoch 1/1 of 1 val_loss: 3.0e+00 | loss_epoch: 4.0e+00"]


def test_in_a_file_there_is_one_plain_line_for_each_epoch(
    slow: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)

    make_trainer(RichProgressBar(), max_epochs=2).fit(slow(loss=[4, 2]), BATCHES)

    assert file.getvalue().splitlines() == [
        "Epoch 1/2: 10it [00:05,  2.00it/s, loss_epoch=4.00]",
        "Epoch 2/2: 10it [00:05,  2.00it/s, loss_epoch=2.00]",
    ]
