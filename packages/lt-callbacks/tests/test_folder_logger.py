"""What loggers in a folder share, by one that remembers what it is given."""

import math
from argparse import Namespace
from pathlib import Path
from typing import Any, ClassVar, final

import pytest

from lt_callbacks.folder_logger import FolderLogger
from lt_callbacks.versioned_folder import VersionedFolder
from lt_loop.solo import OneProcess


@final
class Remembering(FolderLogger):
    def __init__(self, save_dir: Path, **words: Any) -> None:
        super().__init__(VersionedFolder(save_dir, **words), prefix="")
        self.heard: list[Any] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.heard.append((dict(metrics), step))

    def save(self) -> None:
        self.heard.append("save")

    def finalize(self, status: str) -> None:
        self.heard.append(status)

    def take_back(self, step: int) -> None:
        self.heard.append(f"take back {step}")


def hparams(logger: FolderLogger) -> str:
    return Path(logger.log_dir, "hparams.yaml").read_text()


def test_it_hears_what_is_logged_and_closes_at_the_end(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    logger = Remembering(tmp_path)

    make_trainer(logger, max_epochs=1).fit(scripted(loss=[0.5]), [0, 1])

    assert logger.heard == [({"loss_epoch": 0.5, "epoch": 0}, 1), "success"]


def test_it_closes_after_an_exception_too(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    class Failing(scripted):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("out of luck")

    logger = Remembering(tmp_path)
    with pytest.raises(RuntimeError, match="out of luck"):
        make_trainer(logger).fit(Failing(), [0])

    assert logger.heard == ["failed"]


def test_it_writes_for_a_state_and_takes_back_what_came_after_it(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    first, second = Remembering(tmp_path), Remembering(tmp_path)
    trainer = make_trainer(first, max_epochs=1)
    for progress in trainer.steps(scripted(), [0, 1, 2]):
        if progress.steps == 2:
            break
    state = trainer.capture()
    other = make_trainer(second, max_epochs=1)
    other.fit(scripted(), [0, 1, 2], ckpt_path=state)
    other.test(scripted(test_acc=[1]), [0], ckpt_path=state, verbose=False)

    assert first.heard == ["success", "save"]
    assert [word for word in second.heard if isinstance(word, str)] == [
        "take back 2",
        "success",
        "success",
    ]


def test_all_ranks_have_the_version_that_rank_0_chose(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    said: list[Any] = []

    class Rank(OneProcess):
        world_size = 2

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def broadcast(self, value: Any, src: int = 0) -> Any:
            said.append(value)
            return 7

    for rank in (0, 1):
        logger = Remembering(tmp_path)
        trainer = make_trainer(logger, world=Rank(rank), max_epochs=1)
        logger.setup(trainer, None, "fit")
        assert logger.version == 7
        assert logger.writes is (rank == 0)

    assert said == [0, ""]


def test_numbers_stay_numbers_under_their_prefix(tmp_path: Path) -> None:
    logger = Remembering(tmp_path)
    logger._prefix = "fold1"

    prefixed = logger.prefixed({"epoch": 3, "loss": math.inf})

    assert prefixed == {"fold1-epoch": 3, "fold1-loss": math.inf}
    assert type(prefixed["fold1-epoch"]) is int


def test_hyperparameters_add_up(tmp_path: Path) -> None:
    logger = Remembering(tmp_path, version="a")

    logger.log_hyperparams(Namespace(lr=0.1, width=32))
    logger.log_hyperparams({"lr": 0.2})

    assert logger.log_dir == str(tmp_path / "lightning_logs" / "a")
    assert hparams(logger) == "lr: 0.2\nwidth: 32\n"


def test_what_a_module_saved_is_recorded(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    class Saved(scripted):  # type: ignore[misc]
        logged_hparams: ClassVar[dict[str, Any]] = {"lr": 0.1, "betas": (0.9, 0.99)}

    logger = Remembering(tmp_path)

    make_trainer(logger, max_epochs=1).fit(Saved(), [0])

    assert hparams(logger) == "lr: 0.1\nbetas: [0.9, 0.99]\n"
