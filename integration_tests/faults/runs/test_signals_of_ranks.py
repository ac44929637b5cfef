"""Signals to runs of two ranks: to the launcher alone, and to everything, as Slurm sends them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CODES = {"SIGINT": -signal.SIGINT, "SIGTERM": 143, "SIGUSR1": 138}
RANKS: dict[str, Any] = {"trainer": {"devices": 2, "strategy": "ddp"}}
MOMENTS = {"in training": "on_train_batch_start 1", "in validation": "on_validation_batch_start 2"}


@pytest.fixture(scope="module")
def whole(script_of_module: Callable[..., Any], tmp_path_factory: Any) -> Any:
    one = script_of_module("fit", root=str(tmp_path_factory.mktemp("whole")), **RANKS)
    assert one.wait() == 0, one.told()
    return one


def send(one: Any, name: str, to: str) -> None:
    """Send a signal to the launcher, or to every process there is, the launcher first or last."""
    number = getattr(signal, name)
    if to == "launcher":
        one.send(number)
        return
    if to == "group":
        os.killpg(one.pid, number)
        return
    for pid in sorted(one.family(), reverse=to == "all, launcher last"):
        os.kill(pid, number)


@pytest.mark.parametrize(
    ("name", "moment", "to"),
    [
        ("SIGTERM", "in training", "launcher"),
        ("SIGINT", "in validation", "launcher"),
        ("SIGTERM", "in training", "all, launcher first"),
        ("SIGTERM", "in validation", "all, launcher last"),
        ("SIGTERM", "in validation", "group"),
        ("SIGINT", "in training", "group"),
        ("SIGUSR1", "in training", "launcher"),
        ("SIGUSR1", "in training", "all, launcher first"),
    ],
)
def test_once(
    name: str,
    moment: str,
    to: str,
    whole: Any,
    tmp_path: Path,
    script: Callable[..., Any],
    assert_same: Callable[[Any, Any], None],
) -> None:
    """All ranks end at the same step, whatever was signalled; what is done is not lost."""
    words: dict[str, Any] = {"root": str(tmp_path), "saving": {"every_n_train_steps": 1000}}
    words |= RANKS | {"preemption": {"grace_seconds": 60}}
    words["workers"] = 2 if name == "SIGUSR1" else 0  # which SIGTERM to all would end
    one = script("fit", harm={MOMENTS[moment]: "slow"}, **words)
    one.wait_for(f"at {MOMENTS[moment]}")
    send(one, name, to)
    assert one.wait() == CODES[name], one.told()
    check_end(one, name)
    again = script("fit", seed=100, **words)
    assert again.wait() == 0, again.told()
    starts = [note for note in again.notes if note.startswith("start ")]
    assert len(starts) == 2, starts
    assert len(set(starts)) == 1, starts
    assert_same(again, whole)


def check_end(one: Any, name: str) -> None:
    assert one.notes.count("teardown fit") == 2, one.told()
    raised = "KeyboardInterrupt" if name == "SIGINT" else "Preempted"
    assert one.notes.count(f"exception {raised}") == 2, one.told()
    assert one.notes[-1] == "handlers as before"
    one.wait_until_alone()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_in_saving(name: str, tmp_path: Path, script: Callable[..., Any]) -> None:
    one = script("slow_save", root=str(tmp_path), **RANKS)
    one.wait_for("saving 3")
    send(one, name, "launcher")
    assert one.wait() == CODES[name], one.told()
    check_end(one, name)
    left = os.listdir(tmp_path / "checkpoints")
    assert left in (["step=3.ckpt"], ["step=4.ckpt"], ["step=5.ckpt"]), one.told()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("to", ["launcher", "all, launcher first"])
def test_a_second_one_ends_at_once(
    name: str, to: str, tmp_path: Path, script: Callable[..., Any]
) -> None:
    one = script("fit", root=str(tmp_path), harm={"on_train_batch_start 2": "hang"}, **RANKS)
    one.wait_for("at on_train_batch_start 2")
    send(one, name, to)
    one.wait_for_error("stopping at the next safe point; send it again to stop at once")
    send(one, name, to)
    assert one.wait(20) == -getattr(signal, name), one.told()
    one.wait_until_alone()
    assert "step=2.ckpt" in os.listdir(tmp_path / "checkpoints")
