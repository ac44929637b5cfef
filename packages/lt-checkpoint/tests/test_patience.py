import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lt_checkpoint import FolderStore, ModelCheckpoint
from lt_checkpoint.background import Background
from lt_checkpoint.patience import EXIT_CODE, watched
from lt_checkpoint.saver import Saver

HUNG = """
import time
from lt_checkpoint.patience import watched

def writing():
    time.sleep(60)

with watched(0.2, "saving x.ckpt"):
    writing()
"""


@pytest.mark.timeout(60)
def test_a_process_that_hangs_in_a_save_is_ended_with_its_stacks() -> None:
    run = subprocess.run(
        [sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=50, check=False
    )

    assert run.returncode == EXIT_CODE
    assert "in writing" in run.stderr


@pytest.mark.parametrize("seconds", [60.0, None])
def test_what_ends_in_time_is_left_alone(seconds: float | None) -> None:
    before = threading.active_count()
    with watched(seconds, "it"):
        pass
    with pytest.raises(ArithmeticError), watched(seconds, "it"):
        raise ArithmeticError
    assert threading.active_count() <= before + 2  # a cancelled timer may be on its way out


def test_work_beside_the_training_is_not_waited_for_without_end() -> None:
    background, never = Background(0.1), threading.Event()
    background.start(lambda _: never.wait() or None)

    failure = background.take_failure()

    assert isinstance(failure, TimeoutError)
    assert str(failure).startswith("A save beside the training ends within 0.1 seconds")
    never.set()


class Watched:
    """A world of one that knows when its rank is busy."""

    rank, world_size = 0, 1

    def __init__(self) -> None:
        self.is_busy = threading.Event()

    def gather(self, obj: Any) -> Sequence[Any]:
        return [obj]

    @contextmanager
    def busy(self) -> Iterator[None]:
        self.is_busy.set()
        yield
        self.is_busy.clear()


def test_a_rank_that_waits_for_its_checkpoints_at_the_end_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, was_busy = Watched(), []
    monkeypatch.setattr(FolderStore, "verify", lambda *_: was_busy.append(world.is_busy.wait(5)))
    saver = Saver(FolderStore(tmp_path), world, asynchronous=False)
    saver.prune("new.ckpt", ["old.ckpt"])

    assert saver.close() is None
    assert was_busy == [True]
    assert not world.is_busy.is_set()


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="save_timeout is a time above 0, or None"):
        ModelCheckpoint(save_timeout=seconds)
