"""Workers that hang or die, and workers whose parent dies."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lt_data import LoaderStream, TorchFeed
from lt_data.opening import Alone
from lt_data.settings import Settings
from lt_data.workers import _Begin


class Troubled(Dataset[int]):
    """Its third sample hangs, or ends the worker that loads it."""

    def __init__(self, trouble: str) -> None:
        self.trouble = trouble

    def __getitem__(self, index: int) -> int:
        if index == 2:
            if self.trouble == "hang":
                time.sleep(1000)
            time.sleep(0.3)  # so that it is waited for
            os.kill(os.getpid(), signal.SIGKILL)
        return index

    def __len__(self) -> int:
        return 4


class TroubledStream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return (Troubled("hang")[number] for number in range(4))


def opened(data: Any, **words: Any) -> LoaderStream:
    timeout = words.pop("limit", 1)
    loader = DataLoader(data, num_workers=1, **words)
    stream = TorchFeed(timeout=timeout).open(loader, phase="train", world=Alone())
    assert isinstance(stream, LoaderStream)
    return stream


@pytest.mark.slow  # torch waits five seconds for each worker before it is ended
@pytest.mark.parametrize(
    ("data", "words"), [(Troubled("hang"), {"limit": 1}), (TroubledStream(), {"timeout": 1})]
)
def test_a_worker_that_hangs_is_named_and_shown(
    data: Any, words: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = opened(data, prefetch_factor=1, **words)
    batches = stream.epoch(0)
    seen = [int(next(batches)), int(next(batches))] if isinstance(data, Troubled) else []
    with pytest.raises(
        RuntimeError, match=r"A worker of a train loader hands over .* within 1 sec"
    ) as error:
        list(batches)
    assert "Worker 0 (pid " in str(error.value)
    assert "TorchFeed(timeout=seconds)" in str(error.value)
    assert "timed out" in str(error.value.__cause__)
    assert seen == [0, 1] or seen == []
    process = int(str(error.value).split("pid ")[1].split(")")[0])
    stream.close()
    assert not running(process)
    assert "in __getitem__" in capfd.readouterr().err


def test_a_worker_that_was_killed_is_told_of() -> None:
    stream = opened(Troubled("die"), limit=60)
    with pytest.raises(
        RuntimeError, match=r"^Workers of a train loader live .*(Killed|unexpectedly)\. The"
    ) as error:
        list(stream.epoch(0))
    assert "take fewer workers" in str(error.value)
    stream.close()


def test_an_error_of_the_dataset_is_not_taken_for_one_of_the_workers() -> None:
    class Failing(Troubled):
        def __getitem__(self, index: int) -> int:
            raise RuntimeError("mine")

    stream = opened(Failing(""))
    with pytest.raises(RuntimeError, match=r"^Caught RuntimeError in DataLoader worker"):
        list(stream.epoch(0))
    stream.close()


def test_the_limit_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    opened(Troubled(""), limit=300)
    (record,) = caplog.records
    assert "The 1 workers of the train loader have 300 seconds for a batch" in record.message
    caplog.clear()
    opened(Troubled(""), timeout=5)
    opened(Troubled(""), limit=0)
    LoaderStream(DataLoader(Troubled("")), phase="train")
    assert caplog.records == []
    assert Settings().timeout == 300


def test_the_users_loader_is_left_as_it_is() -> None:
    loader = DataLoader(range(3), num_workers=1)  # type: ignore[arg-type]
    before = {name: value for name, value in vars(loader).items()}
    stream = LoaderStream(loader, phase="train")
    assert len(list(stream.epoch(0))) == 3
    stream.close()
    assert vars(loader) == before


def running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


PARENT = """
import os, signal, sys, time
from torch.utils.data import DataLoader, Dataset
from lt_data import LoaderStream

class Hanging(Dataset):
    def __getitem__(self, index):
        os.write(1, b"%d\\n" % os.getpid())  # at once: two of them write
        time.sleep(1000)
    def __len__(self):
        return 4

signal.signal(signal.SIGTERM, lambda *_: None)  # as one who only notes that it came
stream = LoaderStream(DataLoader(Hanging(), num_workers=2), phase="train")
next(stream.epoch(0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_die_with_their_parent_also_where_they_hang() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    try:
        workers = [int(parent.stdout.readline()), int(parent.stdout.readline())]
        assert all(map(running, workers))
    finally:
        parent.kill()
        parent.wait(30)
        parent.stdout.close()
    until = time.monotonic() + 30
    while any(map(running, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(running, workers))


def test_spawned_workers_read_the_same() -> None:
    data = torch.arange(6)
    words: Any = {"batch_size": 2, "shuffle": True}
    settings = Settings(seed=2)
    here = LoaderStream(DataLoader(data, **words), phase="train", settings=settings)  # type: ignore[arg-type]
    loader = DataLoader(data, num_workers=1, multiprocessing_context="spawn", **words)  # type: ignore[arg-type]
    there = LoaderStream(loader, phase="train", settings=settings)
    expected = [batch.tolist() for batch in here.epoch(0)]
    assert [batch.tolist() for batch in there.epoch(0)] == expected
    there.close()


def hang_as_a_worker_of(parent: int) -> None:
    told = multiprocessing.parent_process()
    assert told is not None
    told._pid = parent
    _Begin(None)(0)
    time.sleep(60)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_whose_parent_was_gone_before_it_looked_ends(method: str) -> None:
    context = multiprocessing.get_context(method)
    gone = context.Process(target=int)
    gone.start()
    gone.join(60)
    orphan = context.Process(target=hang_as_a_worker_of, args=(gone.pid,))
    orphan.start()
    orphan.join(30)
    assert orphan.exitcode == 1
