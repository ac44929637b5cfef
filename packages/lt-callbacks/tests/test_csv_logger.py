"""CSVLogger in real runs."""

import csv
from pathlib import Path
from typing import Any

import pytest

from lt_callbacks import CSVLogger

BATCHES = [0, 1, 2, 3]


def rows(logger: CSVLogger) -> list[dict[str, float]]:
    """The file's rows, as numbers, without the empty cells."""
    with open(logger.metrics_file_path, newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_a_run_leaves_its_numbers(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="mine")
    program = scripted(loss=[4, 2], val_loss=[3, 1])

    make_trainer(logger, max_epochs=2, log_every_n_steps=3).fit(program, BATCHES, BATCHES)

    assert logger.log_dir == str(tmp_path / "mine" / "version_0")
    assert rows(logger) == [
        {"epoch": 0, "step": 2, "loss_step": 4},
        {"epoch": 0, "step": 3, "val_loss": 3},
        {"epoch": 0, "step": 3, "loss_epoch": 4},
        {"epoch": 1, "step": 5, "loss_step": 2},
        {"epoch": 1, "step": 7, "val_loss": 1},
        {"epoch": 1, "step": 7, "loss_epoch": 2},
    ]


def test_epoch_and_step_are_whole_numbers(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)

    make_trainer(logger, max_epochs=1, log_every_n_steps=4).fit(scripted(loss=[0.5]), BATCHES)

    assert Path(logger.metrics_file_path).read_text() == (
        "epoch,loss_epoch,loss_step,step\n0,,0.5,3\n0,0.5,,3\n"
    )


def test_nothing_is_made_before_the_first_point(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    trainer = make_trainer(CSVLogger(tmp_path), max_epochs=1)
    _ = trainer.log_dir

    trainer.fit(scripted(), BATCHES)

    assert list(tmp_path.iterdir()) == []


def test_an_exception_loses_no_row(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    class Failing(scripted):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3:
                raise RuntimeError("out of luck")
            return super().training_step(batch, batch_idx)

    logger = CSVLogger(tmp_path)
    with pytest.raises(RuntimeError, match="out of luck"):
        make_trainer(logger, log_every_n_steps=1).fit(Failing(loss=[7]), BATCHES)

    assert [row["step"] for row in rows(logger)] == [0, 1, 2]


def test_a_test_goes_into_the_same_folder(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    program, trainer = scripted(loss=[4], test_acc=[0.5]), make_trainer(logger, max_epochs=1)
    trainer.fit(program, BATCHES)
    trainer.test(program, BATCHES, verbose=False)

    assert [set(row) - {"epoch", "step"} for row in rows(logger)] == [{"loss_epoch"}, {"test_acc"}]
    assert [p.name for p in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]


def test_two_runs_have_two_folders(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        logger = CSVLogger(tmp_path)
        logger.log_metrics({"loss": value}, 0)
        logger.save()

    found = sorted(path.parent.name for path in tmp_path.rglob("metrics.csv"))
    assert found == ["version_0", "version_1"]


def test_a_version_that_exists_is_continued(tmp_path: Path) -> None:
    for step in range(3):
        logger = CSVLogger(tmp_path, version=5)
        logger.log_metrics({"loss": 0.5}, step)
        logger.finalize("finished")

    assert [row["step"] for row in rows(logger)] == [0, 1, 2]


def test_rows_are_on_disk_after_so_many_steps(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=10)
    on_disk = []
    for step in range(0, 40, 3):
        logger.log_metrics({"loss": 0.5}, step)
        path = Path(logger.metrics_file_path)
        on_disk.append(rows(logger)[-1]["step"] if path.exists() else None)

    assert on_disk == [None, None, None, 9, 9, 9, 9, 21, 21, 21, 21, 33, 33, 33]


def test_names_get_the_prefix(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, prefix="fold1")
    logger.log_metrics({"loss": 0.5}, 3)
    logger.save()

    assert rows(logger) == [{"fold1-loss": 0.5, "step": 3}]


def test_without_a_step_rows_are_counted(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    for value in (0.5, 0.25):
        logger.log_metrics({"loss": value})
    logger.save()

    assert [row["step"] for row in rows(logger)] == [0, 1]


def test_a_tensor_is_a_number(tmp_path: Path) -> None:
    class Tensor:
        def __float__(self) -> float:
            return 0.125

    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": Tensor()}, 0)
    logger.save()

    assert rows(logger) == [{"loss": 0.125, "step": 0}]


def test_the_trainer_knows_it_as_a_logger(make_trainer: Any, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, version="a")
    trainer = make_trainer(logger)

    assert trainer.logger is logger
    assert trainer.log_dir == str(tmp_path / "lightning_logs" / "a")
    assert (logger.name, logger.version, logger.save_dir) == ("lightning_logs", "a", str(tmp_path))
    assert logger.root_dir == str(tmp_path / "lightning_logs")


def test_a_bad_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 1\. Received flush_logs_every_n_steps=0"):
        CSVLogger(tmp_path, flush_logs_every_n_steps=0)


def resumed(
    scripted: Any, make_trainer: Any, tmp_path: Path, *, until: dict[str, Any], **words: Any
) -> tuple[str, str]:
    """The text of an uninterrupted run's file, and that of one that was interrupted and resumed."""

    def run(name: str, **more: Any) -> tuple[Any, list[Any], CSVLogger]:
        logger = CSVLogger(tmp_path, name=name, version=0, flush_logs_every_n_steps=3)
        program = scripted(loss=[4, 2, 1], val_loss=[3, 2, 1])
        trainer = make_trainer(logger, **{"max_epochs": 3, "log_every_n_steps": 1} | words | more)
        return trainer, [program, BATCHES, BATCHES], logger

    whole, arguments, whole_logger = run("whole")
    whole.fit(*arguments)
    trainer, arguments, logger = run("cut", **until.get("limits", {}))
    if "limits" in until:
        trainer.fit(*arguments)
        state = trainer.capture()
    else:
        for progress in trainer.steps(*arguments):
            if progress.steps == until["captured"]:
                state = trainer.capture()
            if progress.steps == until["killed"]:
                break
    before = Path(logger.metrics_file_path).read_text()
    trainer, arguments, logger = run("cut")
    trainer.fit(*arguments, ckpt_path=state)

    assert before != Path(whole_logger.metrics_file_path).read_text()
    return tuple(Path(one.metrics_file_path).read_text() for one in (whole_logger, logger))  # type: ignore[return-value]


@pytest.mark.parametrize("captured", range(1, 12))
def test_a_resumed_run_leaves_the_lines_of_one_that_was_never_interrupted(
    scripted: Any, make_trainer: Any, tmp_path: Path, captured: int
) -> None:
    until = {"captured": captured, "killed": 11}

    whole, cut = resumed(scripted, make_trainer, tmp_path, until=until, val_check_interval=2)

    assert cut.splitlines() == whole.splitlines()
    assert len(whole.splitlines()) == 1 + 12 + 6 + 3


@pytest.mark.parametrize("steps", [2, 4, 6, 7])
def test_what_an_early_stop_added_is_taken_back(
    scripted: Any, make_trainer: Any, tmp_path: Path, steps: int
) -> None:
    until = {"limits": {"max_steps": steps}}

    whole, cut = resumed(scripted, make_trainer, tmp_path, until=until)

    assert cut.splitlines() == whole.splitlines()


def test_a_state_from_before_the_first_row_takes_all_rows_back(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    until = {"captured": 1, "killed": 3}

    whole, cut = resumed(scripted, make_trainer, tmp_path, until=until, log_every_n_steps=2)

    assert cut.splitlines() == whole.splitlines()


def test_another_version_keeps_its_rows(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    first, program = CSVLogger(tmp_path), scripted(loss=[4, 2])
    trainer = make_trainer(first, max_epochs=2)
    for progress in trainer.steps(program, BATCHES):
        if progress.steps == 4:
            state = trainer.capture()
    second = CSVLogger(tmp_path)
    make_trainer(second, max_epochs=2).fit(program, BATCHES, ckpt_path=state)

    assert second.version == 1
    assert [row["step"] for row in rows(first)] == [3, 7]
    assert [row["step"] for row in rows(second)] == [7]


def test_a_test_of_a_state_takes_nothing_back(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    logger = CSVLogger(tmp_path)
    program, trainer = scripted(loss=[4], test_acc=[1]), make_trainer(logger, max_epochs=2)
    for progress in trainer.steps(program, BATCHES):
        if progress.steps == 4:
            state = trainer.capture()
    trainer.test(program, BATCHES, ckpt_path=state, verbose=False)

    assert [row["step"] for row in rows(logger)] == [3, 7, 4]


def test_a_full_disk_ends_no_run_unless_asked(
    scripted: Any, make_trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True] * 3)

    def no_space(*_: Any) -> None:
        if next(failures, False):
            raise OSError(28, "No space left on device")

    def fit(logger: CSVLogger) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", no_space)
            trainer = make_trainer(logger, max_epochs=1, log_every_n_steps=1)
            trainer.fit(scripted(loss=[1]), BATCHES)

    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    with pytest.warns(RuntimeWarning, match=r"CSVLogger failed in recording .*No space") as all_:
        fit(logger)
    failures = iter([True])
    with pytest.raises(OSError, match="No space left"):
        fit(CSVLogger(tmp_path, flush_logs_every_n_steps=1, on_error="raise"))

    assert len(all_) == 1  # the run has a warning, not each row
    assert [row["step"] for row in rows(logger)] == [0, 1, 2, 3, 3]  # and no row is lost


def test_loggers_of_two_folders_have_states_of_their_own(make_trainer: Any, tmp_path: Path) -> None:
    keys = {CSVLogger(tmp_path / name).state_key for name in ("a", "b")}

    assert len(keys) == 2


def test_a_run_in_other_processes_comes_home_with_its_version(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    (tmp_path / "lightning_logs" / "version_0").mkdir(parents=True)
    here, there = CSVLogger(tmp_path), CSVLogger(tmp_path)
    make_trainer(there, max_epochs=1).fit(scripted(loss=[1]), BATCHES)
    here.load_state_dict(there.state_dict())

    assert here.log_dir == there.log_dir == str(tmp_path / "lightning_logs" / "version_1")
    assert here.state_key == there.state_key


def test_how_to_fail_is_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of \('warn', 'raise'\)\. .*Did you mean 'raise'\?"):
        CSVLogger(tmp_path, on_error="rais")  # type: ignore[arg-type]
