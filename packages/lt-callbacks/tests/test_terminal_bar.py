"""One line on a terminal, as it looks."""

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tqdm")

from tqdm import tqdm

from lt_callbacks.bar import Place
from lt_callbacks.progress_bar import can_encode
from lt_callbacks.spelled_metrics import spelled
from lt_callbacks.terminal_bar import TerminalBar, write


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    left = list(TerminalBar._instances)
    TerminalBar._instances.clear()
    assert left == []


def test_it_shows_how_far_how_fast_and_how_long(screen: Any, clock: Any) -> None:
    bar = TerminalBar(Place("train", "Epoch 1", 200, line=0))
    clock.seconds += 4
    bar.draw(50, {"loss": 0.25})
    shown = screen.lines
    bar.finish(stays=False)

    assert len(shown) == 1
    assert shown[0].startswith("Epoch 1:  25%|█")
    assert shown[0].endswith("| 50/200 [00:04<00:12, 12.50it/s, loss=0.250]")
    assert len(shown[0]) == 80


def test_without_a_total_it_counts(screen: Any, clock: Any) -> None:
    bar = TerminalBar(Place("train", "Epoch 1", None, line=0))
    clock.seconds += 4
    bar.draw(50, {"loss": 0.25})

    assert screen.lines == ["Epoch 1: 50it [00:04, 12.50it/s, loss=0.250]"]
    bar.finish(stays=False)


def test_what_was_done_before_the_clock_started_says_nothing_of_the_speed(
    screen: Any, clock: Any
) -> None:
    bar = TerminalBar(Place("train", "Epoch 1", 100, line=0, done=90))
    clock.seconds += 2
    bar.draw(95)

    assert screen.lines[0].endswith("| 95/100 [00:02<00:02,  2.50it/s]")
    bar.finish(stays=False)


def test_it_is_drawn_when_it_is_told_to_and_at_no_other_time(screen: Any, clock: Any) -> None:
    bar = TerminalBar(Place("train", "Epoch 1", 100, line=0))
    before = screen.writes
    for _ in range(50):
        clock.seconds += 60
        bar.n += 1
    undrawn = screen.writes
    bar.draw(50)
    drawn = screen.writes
    bar.finish(stays=False)

    assert before == undrawn < drawn
    assert not [thread for thread in threading.enumerate() if "tqdm" in type(thread).__module__]


def test_a_whole_line_stays_without_its_bar(screen: Any, clock: Any) -> None:
    bar = TerminalBar(Place("train", "Epoch 1", 10, line=0))
    clock.seconds += 5
    bar.draw(10, {"loss": 0.5})
    bar.finish({"loss": 0.25, "acc": 1.0}, stays=True)

    assert screen.lines == ["Epoch 1: 10it [00:05,  2.00it/s, loss=0.250, acc=1.00]"]
    assert (screen.row, screen.column) == (1, 0)


def test_of_what_was_not_done_the_bar_stays(screen: Any, clock: Any) -> None:
    bar = TerminalBar(Place("train", "Epoch 1", 10, line=0))
    bar.draw(4)
    bar.finish(stays=True)

    assert screen.lines[0].startswith("Epoch 1:  40%|███")
    assert (screen.row, screen.column) == (1, 0)


def test_nothing_stays_unless_asked_for(screen: Any, clock: Any) -> None:
    bar = TerminalBar(Place("train", "Epoch 1", 10, line=0))
    bar.draw(4)
    bar.finish(stays=False)

    assert screen.lines == []
    assert (screen.row, screen.column) == (0, 0)


def test_a_line_below_another_one_comes_and_goes(screen: Any, clock: Any) -> None:
    above = TerminalBar(Place("train", "Epoch", None, line=0))
    below = TerminalBar(Place("train", "Validation", None, line=1))
    below.draw(3)
    both = [line.partition(" [")[0] for line in screen.lines]
    below.finish(stays=False)
    one = [line.partition(" [")[0] for line in screen.lines]
    above.finish(stays=False)

    assert both == ["Epoch: 0it", "Validation: 3it"]
    assert one == ["Epoch: 0it"]


def test_a_line_that_stays_goes_above_the_bars_of_others(screen: Any, clock: Any) -> None:
    with tqdm(total=None, desc="mine", file=screen) as mine:
        bar = TerminalBar(Place("train", "Epoch", 10, line=2))
        bar.draw(10)
        bar.finish(stays=True)
        shown = [line.partition(" [")[0] for line in screen.lines]
        mine.leave = False

    assert shown == ["Epoch: 10it", "mine: 0it"]


def test_lines_are_written_above(screen: Any, clock: Any) -> None:
    bar = TerminalBar(Place("train", "Epoch", None, line=0))
    write("hello")
    shown = [line.partition(" [")[0] for line in screen.lines]
    bar.finish(stays=False)

    assert shown == ["hello", "Epoch: 0it"]


@pytest.mark.parametrize("total", [100, None])
def test_metrics_that_do_not_fit_are_left_out_whole(
    screen: Any, clock: Any, total: int | None
) -> None:
    bar = TerminalBar(Place("train", "Epoch 1/30", total, line=0))
    shown = {}
    for screen.width in range(60, 200):
        bar.draw(50, {f"metric_{n}": 0.5 for n in range(9)})
        shown[screen.width] = screen.lines[0]
    bar.finish(stays=False)

    assert all(line.endswith(("=0.500]", ", ...]")) for line in shown.values())
    counts = [line.count("=0.500") for line in shown.values()]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0 if total else 1, 9)


def test_where_the_width_is_not_known_all_metrics_are_shown(screen: Any, clock: Any) -> None:
    screen.width = None
    bar = TerminalBar(Place("train", "Epoch", 100, line=0))
    bar.draw(50, {f"metric_{n}": 0.5 for n in range(9)})
    shown = screen.lines
    bar.finish({}, stays=False)

    assert shown[0].count("metric_") == 9


def test_a_number_is_never_cut() -> None:
    metrics = {"loss": 0.125, "val_loss/dataloader_idx_0": 1e-9, "n": 100.0}
    whole = spelled(metrics)

    assert whole == "loss=0.125, val_loss/0=1.00e-09, n=100"
    for room in range(len(whole) + 1):
        shown = spelled(metrics, room)
        words = [word for word in shown.split(", ") if word not in ("...", "")]
        assert words == [word for word in whole.split(", ") if word in words]
        assert len(shown) <= room


def test_numbers_keep_their_width() -> None:
    numbers = [0.5, 0.123456, 1.0, 12.5, float("nan"), float("-inf")]

    assert [spelled({"x": number}) for number in numbers] == [
        "x=0.500",
        "x=0.123",
        "x=1.00",
        "x=12.5",
        "x=nan",
        "x=-inf",
    ]


@pytest.mark.parametrize(
    ("encoding", "can"), [("utf-8", True), ("ascii", False), ("cp1252", False), (None, False)]
)
def test_not_every_stream_can_draw_lines(encoding: str | None, can: bool) -> None:
    assert can_encode("─", SimpleNamespace(encoding=encoding)) is can
    assert can_encode("-", SimpleNamespace(encoding=encoding))
    assert can_encode("-", sys.stdout)
