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
