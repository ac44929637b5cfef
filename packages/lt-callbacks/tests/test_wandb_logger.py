"""WandbLogger in offline mode, read back from the files that W&B leaves."""

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("wandb")

import wandb
from wandb.proto import wandb_internal_pb2

from lt_callbacks import WandbLogger

BATCHES = [0, 1, 2, 3]
BLOCK, HEADER = 2**15, struct.Struct("<IHB")


@pytest.fixture(autouse=True)
def nothing_but_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no key from there
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    yield
    while wandb.run is not None:
        wandb.finish()


def records(path: Path) -> Iterator[Any]:
    """The records of a run's file: a LevelDB log of protocol buffers."""
    content, at, parts = path.read_bytes(), 7, b""
    while at + HEADER.size <= len(content):
        if BLOCK - at % BLOCK < HEADER.size:  # the rest of a block is too short for a header
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = HEADER.unpack_from(content, at)
        parts += content[at + HEADER.size : at + HEADER.size + length]
        at += HEADER.size + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def whole(path: Path) -> list[Any]:
    """The records of a run that is over: W&B writes the last of them after ``finish``."""
    for _ in range(300):
        found = list(records(path))
        if any(record.HasField("exit") for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def written(logger: WandbLogger) -> tuple[list[dict[str, Any]], dict[str, Any], Any]:
    """What a run's file holds when it is over: rows, hyper-parameters and the run."""
    folder = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    rows: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    run = None
    (file,) = folder.glob("*.wandb")
    for record in whole(file):
        if record.HasField("run"):
            run = record.run
        for update in (record.config, record.run.config):
            config |= {item.key: json.loads(item.value_json) for item in update.update}
        if record.HasField("history"):
            items = {".".join(i.nested_key) or i.key: i for i in record.history.item}
            row = {name: json.loads(item.value_json) for name, item in items.items()}
            rows.append({name: value for name, value in row.items() if name[0] != "_"})
    return rows, {name: value for name, value in config.items() if name != "_wandb"}, run


def offline(folder: Path, **words: Any) -> WandbLogger:
    return WandbLogger(**{"save_dir": folder, "offline": True, "on_error": "raise"} | words)


def test_a_run_leaves_its_rows(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    class Saved(scripted):  # type: ignore[misc]
        logged_hparams: ClassVar[dict[str, Any]] = {"lr": 0.1, "optimizer": {"betas": (0.9, 0.99)}}

    logger = offline(tmp_path, name="first", project="mine", version="abc123", tags=["a"])
    program = Saved(loss=[4, 2], val_loss=[3, 1])

    make_trainer(logger, max_epochs=2, log_every_n_steps=3).fit(program, BATCHES, BATCHES)
    name, version = logger.name, logger.version
    rows, config, run = written(logger)

    assert rows == [
        {"epoch": 0, "loss_step": 4, "trainer/global_step": 2},
        {"epoch": 0, "val_loss": 3, "trainer/global_step": 3},
        {"epoch": 0, "loss_epoch": 4, "trainer/global_step": 3},
        {"epoch": 1, "loss_step": 2, "trainer/global_step": 5},
        {"epoch": 1, "val_loss": 1, "trainer/global_step": 7},
        {"epoch": 1, "loss_epoch": 2, "trainer/global_step": 7},
    ]
    assert config == {"lr": 0.1, "optimizer": {"betas": [0.9, 0.99]}}
    assert (run.project, run.run_id, run.display_name, list(run.tags)) == (
        *("mine", "abc123", "first"),
        ["a"],
    )
    assert (name, version, logger.save_dir) == ("mine", "abc123", str(tmp_path))


def test_a_test_goes_into_the_same_run(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    logger = offline(tmp_path)
    program, trainer = scripted(loss=[4], test_acc=[0.5]), make_trainer(logger, max_epochs=1)
    trainer.fit(program, BATCHES)
    trainer.test(program, BATCHES, verbose=False)
    folders = list((tmp_path / "wandb").glob("offline-run-*"))
    rows, _, run = written(logger)

    assert [set(row) - {"epoch", "trainer/global_step"} for row in rows] == [
        {"loss_epoch"},
        {"test_acc"},
    ]
    assert len(folders) == 1
    assert run.project == "lightning_logs"


def test_loggers_after_the_first_have_runs_of_their_own(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    loggers = [offline(tmp_path) for _ in range(3)]
    for number, logger in enumerate(loggers):
        make_trainer(logger, max_epochs=1).fit(scripted(loss=[number]), BATCHES)
    first_is_the_global_one = wandb.run is loggers[0].experiment
    found = [written(logger)[0] for logger in loggers]

    assert [[row["loss_epoch"] for row in rows] for rows in found] == [[0], [1], [2]]
    assert first_is_the_global_one
    assert len({logger.version for logger in loggers}) == 3


def test_a_run_begun_elsewhere_is_used(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    run = wandb.init(project="sweep", dir=str(tmp_path), mode="offline")
    logger = offline(tmp_path, project="another")
    make_trainer(logger, max_epochs=1).fit(scripted(loss=[1]), BATCHES)
    same, name = logger.experiment is run, logger.name
    rows, _, _ = written(logger)

    assert same
    assert name == "sweep"
    assert [row["loss_epoch"] for row in rows] == [1]


def test_a_run_that_is_passed_is_used(tmp_path: Path) -> None:
    run = wandb.init(dir=str(tmp_path), mode="offline", reinit="create_new")
    logger = WandbLogger(experiment=run, prefix="fold1")
    logger.log_metrics({"a": 1.0})
    logger.save()

    assert logger.experiment is run
    assert written(logger)[0] == [{"fold1-a": 1}]


def test_tables_and_images(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("PIL")
    logger = offline(tmp_path, prefix="p")
    logger.log_text("said", columns=["who", "what"], data=[["me", "hello"]], step=2)
    logger.log_image("seen", [numpy.zeros((4, 4, 3), "uint8")], step=2, caption=["black"])
    with pytest.raises(ValueError, match=r"as many values .* Received list and \{'caption': 2\}"):
        logger.log_image("seen", [1], caption=["a", "b"])
    logger.save()
    rows, _, _ = written(logger)

    assert [row["trainer/global_step"] for row in rows] == [2, 2]
    assert any(name.startswith("p-said") for name in rows[0])
    assert any(name.startswith("p-seen") for name in rows[1])


@pytest.mark.parametrize("words", [{"log_model": True}, {"anonymous": True}])
def test_what_is_not_served_is_refused(words: Any) -> None:
    (word,) = words
    with pytest.raises(ValueError, match=f"WandbLogger takes {word}=False only. Received"):
        WandbLogger(**words)


def test_without_a_key_the_run_does_not_begin(tmp_path: Path) -> None:
    code = (
        "from lt_callbacks import WandbLogger\n"
        "from types import SimpleNamespace\n"
        "logger = WandbLogger()\n"
        "logger.setup(SimpleNamespace(is_global_zero=True), None, 'fit')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: WandbLogger needs an API key.")
    assert last.endswith("WandbLogger(offline=True).")
