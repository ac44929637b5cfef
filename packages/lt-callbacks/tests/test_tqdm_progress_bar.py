"""The bar in real runs, on a terminal, as it looks."""

import io
import pickle
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("tqdm")

from tqdm import tqdm

from lt_callbacks import TQDMProgressBar
from lt_callbacks.terminal_bar import TerminalBar
from lt_loop import Callback
from lt_loop.solo import DuckBackend, OneProcess

BATCHES = list(range(10))
TABLE = ["─────────────────────", " Test metric   Value", "─────────────────────"]


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    left = list(TerminalBar._instances)
    TerminalBar._instances.clear()
    assert left == []


class Looking(Callback):
    """Looks at the screen after each batch, when the bar has been drawn."""

    def __init__(self, screen: Any) -> None:
        self.screen = screen
        self.seen: dict[str, list[list[str]]] = {"train": [], "sanity": [], "validate": []}

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen["train"].append(self.screen.lines)

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        self.seen["sanity" if trainer.sanity_checking else "validate"].append(self.screen.lines)


def without_bars(lines: list[str]) -> list[str]:
    """Replace each bar, whose width is what is left, by one character."""
    return [re.sub(r"\|.*\|", "|", line) for line in lines]


def counts(seen: list[list[str]]) -> list[int]:
    """The count that the last line showed, each time."""
    return [int(re.search(r"(\d+)(/\d+|it) \[", lines[-1])[1]) for lines in seen]  # type: ignore[index]


def test_each_epoch_leaves_a_line(screen: Any, slow: Any, make_trainer: Any) -> None:
    program = slow(loss=[4, 2], val_loss=[3, 1])

    make_trainer(TQDMProgressBar(), max_epochs=2).fit(program, BATCHES, BATCHES[:2])

    assert screen.lines == [
        "Epoch 1/2: 10it [00:06,  1.67it/s, val_loss=3.00, loss_epoch=4.00]",
        "Epoch 2/2: 10it [00:06,  1.67it/s, val_loss=1.00, loss_epoch=2.00]",
    ]
    assert (screen.row, screen.column) == (2, 0)


def test_or_the_last_one_alone(screen: Any, slow: Any, make_trainer: Any) -> None:
    make_trainer(TQDMProgressBar(leave=False), max_epochs=3).fit(slow(loss=[4, 2, 1]), BATCHES)

    assert screen.lines == ["Epoch 3/3: 10it [00:05,  2.00it/s, loss_epoch=1.00]"]


def test_a_value_logged_when_the_epoch_is_over_is_in_its_line(
    screen: Any, slow: Any, make_trainer: Any
) -> None:
    class Summing(slow):  # type: ignore[misc]
        def on_train_epoch_end(self) -> None:
            self.trainer.log("f1", self.trainer.current_epoch + 1.0, prog_bar=True)

    make_trainer(TQDMProgressBar(), max_epochs=2).fit(Summing(), BATCHES)

    assert screen.lines == [
        "Epoch 1/2: 10it [00:05,  2.00it/s, f1=1.00]",
        "Epoch 2/2: 10it [00:05,  2.00it/s, f1=2.00]",
    ]


def test_sanity_check_and_validation_are_seen_and_go(
    screen: Any, slow: Any, make_trainer: Any
) -> None:
    looking = Looking(screen)
    trainer = make_trainer(TQDMProgressBar(), looking, max_epochs=1, num_sanity_val_steps=2)

    trainer.fit(slow(loss=[4], val_loss=[3]), BATCHES[:2], BATCHES[:4])

    assert [without_bars(lines) for lines in looking.seen["sanity"]] == [
        ["Sanity check:  50%| 1/2 [00:00<00:00,  2.00it/s]"],
        ["Sanity check: 100%| 2/2 [00:01<00:00,  2.00it/s]"],
    ]
    assert without_bars(looking.seen["train"][0]) == [
        "Epoch 1/1:  50%| 1/2 [00:00<00:00,  2.00it/s, loss_step=4.00]"
    ]
    assert [without_bars(lines) for lines in looking.seen["validate"]] == [
        [
            "Epoch 1/1: 100%| 2/2 [00:01<00:00,  2.00it/s, loss_step=4.00]",
            f"Validation: {n * 25:3}%| {n}/4 [{t}<{left},  2.00it/s]",
        ]
        for n, t, left in [
            *[(1, "00:00", "00:01"), (2, "00:01", "00:01")],
            *[(3, "00:01", "00:00"), (4, "00:02", "00:00")],
        ]
    ]
    assert screen.lines == ["Epoch 1/1: 2it [00:03,  1.50s/it, val_loss=3.00, loss_epoch=4.00]"]


def test_it_is_drawn_by_time(screen: Any, slow: Any, make_trainer: Any) -> None:
    looking = Looking(screen)

    make_trainer(TQDMProgressBar(refresh_seconds=1.5), looking, max_epochs=1).fit(slow(), BATCHES)

    assert counts(looking.seen["train"]) == [1, 1, 1, 4, 4, 4, 7, 7, 7, 10]


def test_it_may_be_drawn_less_often(screen: Any, slow: Any, make_trainer: Any) -> None:
    looking = Looking(screen)

    make_trainer(TQDMProgressBar(refresh_rate=4), looking, max_epochs=1).fit(slow(), BATCHES)

    assert counts(looking.seen["train"]) == [0, 0, 0, 4, 4, 4, 4, 8, 8, 8]


def test_between_two_drawings_nothing_is_read(
    screen: Any, clock: Any, scripted: Any, make_trainer: Any
) -> None:
    class Counting(DuckBackend):
        reads = 0

        def read(self, values: Any) -> list[float]:
            self.reads += 1
            return super().read(values)

    reads = []
    for batches in (BATCHES, BATCHES * 100):
        trainer = make_trainer(TQDMProgressBar(), max_epochs=1, log_every_n_steps=10_000)
        backend = trainer._ports.backend
        backend.__class__ = Counting
        trainer.fit(scripted(loss=[1]), batches)
        reads.append(backend.reads)

    assert reads[0] == reads[1]
    assert screen.writes < 100


class NotATerminal(io.StringIO):
    encoding = "utf-8"


def test_in_a_file_there_is_one_plain_line_for_each_epoch(
    slow: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed, file = NotATerminal(), NotATerminal()
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(sys, "stderr", file)
    trainer = make_trainer(TQDMProgressBar(leave=False), max_epochs=2, num_sanity_val_steps=2)
    program = slow(loss=[4, 2], val_loss=[3], test_acc=[0.5])

    trainer.fit(program, BATCHES, BATCHES[:2])
    trainer.predict(program, BATCHES)
    trainer.test(program, BATCHES, verbose=False)
    before = printed.getvalue()
    trainer.test(program, BATCHES)

    assert file.getvalue().splitlines() == [
        "Epoch 1/2: 10it [00:06,  1.67it/s, val_loss=3.00, loss_epoch=4.00]",
        "Epoch 2/2: 10it [00:06,  1.67it/s, val_loss=3.00, loss_epoch=2.00]",
        "Predicting: 10it [00:00, ?it/s]",
        *["Testing: 10it [00:05,  2.00it/s]"] * 2,
    ]
    assert before == ""
    assert printed.getvalue().splitlines()[:3] == TABLE


def test_in_a_file_an_exception_leaves_the_line_of_its_epoch(
    slow: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(slow):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3 and self.trainer.current_epoch:
                raise RuntimeError("out of luck")
            return super().training_step(batch, batch_idx)

    file = NotATerminal()
    monkeypatch.setattr(sys, "stderr", file)
    with pytest.raises(RuntimeError, match="out of luck"):
        make_trainer(TQDMProgressBar(), max_epochs=2).fit(Failing(), BATCHES)

    assert [line.partition(" [")[0] for line in file.getvalue().splitlines()] == [
        "Epoch 1/2: 10it",
        "Epoch 2/2: 0/10it",
    ]


def test_without_standard_error_nothing_is_shown(
    slow: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    make_trainer(TQDMProgressBar(), max_epochs=2).fit(slow(loss=[4]), BATCHES)


def test_what_stands_behind_a_bar_may_be_changed(screen: Any, slow: Any, make_trainer: Any) -> None:
    class Mine(TQDMProgressBar):
        validation_description = "Looking"

        def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
            metrics = super().get_metrics(trainer, pl_module)
            metrics.pop("v_num", None)
            return metrics | {"run": "a7", "n": len(pl_module.values)}

    looking = Looking(screen)
    make_trainer(Mine(), looking, max_epochs=1).fit(
        slow(loss=[4], val_loss=[1]), BATCHES, BATCHES[:1]
    )

    assert looking.seen["validate"][0][1].startswith("Looking: 100%")
    assert screen.lines == [
        "Epoch 1/1: 10it [00:05,  1.82it/s, val_loss=1.00, loss_epoch=4.00, run=a7, n=2]"
    ]


def test_a_bar_may_be_made_by_a_method_of_ones_own(
    screen: Any, slow: Any, make_trainer: Any
) -> None:
    class Plain(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # no thread that outlives the test

    class Mine(TQDMProgressBar):
        def init_train_tqdm(self) -> Any:
            return Plain(file=screen, bar_format="{desc} [{n}/{total}]{postfix}")

        def init_validation_tqdm(self) -> Any:
            bar = super().init_validation_tqdm()
            bar.set_description("running validation ...")
            return bar

    looking = Looking(screen)
    make_trainer(Mine(), looking, max_epochs=1).fit(
        slow(loss=[4], val_loss=[1]), BATCHES, BATCHES[:1]
    )

    assert looking.seen["train"][3][0] == "Epoch 1/1 [4/10], loss_step=4.00"
    assert looking.seen["validate"][0][1].startswith("running validation ...: 100%")
    assert screen.lines == ["Epoch 1/1 [10/10], val_loss=1.00, loss_epoch=4.00"]


def test_a_disabled_bar_shows_nothing_until_it_is_enabled(
    screen: Any, slow: Any, make_trainer: Any
) -> None:
    bar = TQDMProgressBar()
    bar.disable()
    make_trainer(bar, max_epochs=1).fit(slow(), BATCHES)
    nothing, was = screen.lines, (bar.is_enabled, bar.is_disabled)
    bar.enable()
    make_trainer(bar, max_epochs=1).fit(slow(), BATCHES)

    assert (nothing, was) == ([], (False, True))
    assert screen.lines == ["Epoch 1/1: 10it [00:05,  2.00it/s]"]


def test_it_can_be_copied_while_it_draws(screen: Any, slow: Any, make_trainer: Any) -> None:
    class Copying(slow):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            pickle.loads(pickle.dumps(self.trainer.progress_bar_callback))
            return super().training_step(batch, batch_idx)

    make_trainer(TQDMProgressBar(), max_epochs=1).fit(Copying(), BATCHES)

    assert screen.lines == ["Epoch 1/1: 10it [00:05,  2.00it/s]"]


def test_outside_a_run_it_has_no_trainer() -> None:
    with pytest.raises(RuntimeError, match=r"has a trainer while a run is under way\. Received"):
        _ = TQDMProgressBar().total_train_batches


def test_refresh_rate_0_draws_nothing(screen: Any, slow: Any, make_trainer: Any) -> None:
    make_trainer(TQDMProgressBar(refresh_rate=0)).fit(slow(loss=[4]), BATCHES)

    assert screen.writes == 0


def test_other_ranks_are_silent(screen: Any, slow: Any, make_trainer: Any) -> None:
    class RankOne(OneProcess):
        rank = 1

    trainer = make_trainer(TQDMProgressBar(), world=RankOne(), max_epochs=1)
    program = slow(loss=[4], test_acc=[1])
    trainer.fit(program, BATCHES)
    trainer.test(program, BATCHES)

    assert screen.writes == 0


def test_results_are_shown_below_their_bar(screen: Any, slow: Any, make_trainer: Any) -> None:
    trainer = make_trainer(TQDMProgressBar())
    program = slow(val_loss=[0.5], test_acc=[0.25])
    trainer.validate(program, BATCHES[:4])
    trainer.test(program, [iter(BATCHES[:4]), iter(BATCHES[:2])])
    trainer.predict(program, BATCHES)

    assert [line for line in screen.lines if "──" not in line] == [
        "Validation: 4it [00:02,  2.00it/s]",
        " Validation metric   Value",
        " val_loss              0.5",
        "Testing: 6it [00:03,  2.00it/s]",
        " Test metric   Loader 0   Loader 1",
        " test_acc          0.25       0.25",
        "Predicting: 10it [00:00, ?it/s]",
    ]


def test_a_stream_without_lines_gets_dashes(
    slow: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", printed)
    make_trainer(TQDMProgressBar()).test(slow(test_acc=[1]), BATCHES)
    printed.flush()

    assert printed.buffer.getvalue().startswith(b"-----")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("failing", "left"),
    [
        ("train", ["Epoch 1/2: 10it [00:05,  2.00it/s]", "Epoch 2/2:  30%| 3/10 "]),
        ("validate", ["Epoch 1/2: 10it "]),
        ("sanity_check", ["Sanity check:  50%| 1/2 "]),
        ("test", ["Testing:  30%| 3/10 "]),
    ],
)
def test_an_exception_leaves_the_terminal_as_it_should_be(
    failing: str, left: list[str], screen: Any, slow: Any, make_trainer: Any
) -> None:
    class Failing(slow):  # type: ignore[misc]
        def fail(self, stage: str, batch_idx: int, at: int = 3) -> None:
            if stage == failing and batch_idx == at and self.armed:
                raise RuntimeError("out of luck")

        @property
        def armed(self) -> bool:
            return failing != "train" or self.trainer.current_epoch == 1

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.fail("train", batch_idx)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if self.trainer.sanity_checking:
                self.fail("sanity_check", batch_idx, at=1)
            else:
                self.fail("validate", batch_idx)
            super().validation_step(batch, batch_idx)

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.fail("test", batch_idx)
            super().test_step(batch, batch_idx)

    trainer = make_trainer(TQDMProgressBar(), max_epochs=2, num_sanity_val_steps=2)
    program = Failing()
    run = trainer.test if failing == "test" else trainer.fit
    loaders = [BATCHES] if failing in ("train", "test") else [BATCHES, BATCHES]
    with pytest.raises(RuntimeError, match="out of luck"):
        run(program, *loaders)
    shown = without_bars(screen.lines)
    cursor = (screen.row, screen.column)
    trainer.fit(slow(), BATCHES)

    assert [line[: len(start)] for line, start in zip(shown, left, strict=True)] == left
    assert cursor == (len(left), 0)
    assert len(screen.lines) == len(left) + 2


def test_several_runs_of_one_trainer(screen: Any, slow: Any, make_trainer: Any) -> None:
    trainer = make_trainer(TQDMProgressBar(), max_epochs=1)
    program = slow(loss=[4], test_acc=[1])
    trainer.fit(program, BATCHES)
    trainer.test(program, BATCHES, verbose=False)
    trainer.fit(program, BATCHES[:4])

    assert screen.lines == [
        "Epoch 1/1: 10it [00:05,  2.00it/s, loss_epoch=4.00]",
        "Testing: 10it [00:05,  2.00it/s]",
        "Epoch 1/1: 4it [00:02,  2.00it/s, loss_epoch=4.00]",
    ]


class Endless:
    """A loader without a length."""

    def __iter__(self) -> Iterator[int]:
        return iter(BATCHES)


def test_loaders_without_a_length_are_counted(screen: Any, slow: Any, make_trainer: Any) -> None:
    looking = Looking(screen)

    make_trainer(TQDMProgressBar(), looking, max_epochs=2, num_sanity_val_steps=2).fit(
        slow(loss=[4]), Endless(), Endless()
    )

    assert counts(looking.seen["train"]) == [*range(1, 11)] * 2
    assert counts(looking.seen["validate"]) == [*range(1, 11)] * 2
    assert looking.seen["train"][4] == ["Epoch 1/2: 5it [00:02,  2.00it/s, loss_step=4.00]"]
    assert [line.partition(" [")[0] for line in screen.lines] == [
        "Epoch 1/2: 10it",
        "Epoch 2/2: 10it",
    ]


def test_a_resumed_epoch_goes_on_where_it_was(screen: Any, slow: Any, make_trainer: Any) -> None:
    first = make_trainer(max_epochs=1)
    for progress in first.steps(slow(), BATCHES):
        if progress.steps == 6:
            break
    looking = Looking(screen)

    make_trainer(TQDMProgressBar(), looking, max_epochs=1).fit(
        slow(), BATCHES, ckpt_path=first.capture()
    )

    assert counts(looking.seen["train"]) == [7, 8, 9, 10]
    assert screen.lines == ["Epoch 1/1: 10it [00:02,  2.00it/s]"]


def test_an_epoch_that_is_cut_short_keeps_its_bar(
    screen: Any, slow: Any, make_trainer: Any
) -> None:
    make_trainer(TQDMProgressBar(), max_epochs=-1, max_steps=14).fit(slow(), BATCHES)

    assert without_bars(screen.lines) == [
        "Epoch 1: 10it [00:05,  2.00it/s]",
        "Epoch 2:  40%| 4/10 [00:02<00:03,  2.00it/s]",
    ]


def test_lines_above_may_be_left_to_others(screen: Any, slow: Any, make_trainer: Any) -> None:
    looking = Looking(screen)

    make_trainer(TQDMProgressBar(process_position=1), looking, max_epochs=1).fit(slow(), BATCHES)

    assert without_bars(looking.seen["train"][0])[:2] == ["", ""]
    assert screen.lines == ["Epoch 1/1: 10it [00:05,  2.00it/s]"]


def test_it_prints_above_the_bar(screen: Any, slow: Any, make_trainer: Any) -> None:
    class Talking(slow):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 5:
                self.trainer.progress_bar_callback.print("batch", batch_idx)
            return super().training_step(batch, batch_idx)

    make_trainer(TQDMProgressBar(), max_epochs=1).fit(Talking(), BATCHES)

    assert screen.lines == ["batch 5", "Epoch 1/1: 10it [00:05,  2.00it/s]"]


@pytest.mark.parametrize("name", ["refresh_rate", "process_position", "refresh_seconds"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_bad_numbers_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be at least 0. Received {name}={value}"):
        TQDMProgressBar(**{name: value})  # type: ignore[arg-type]
