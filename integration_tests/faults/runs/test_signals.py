"""Signals in training, in validation and in saving: an end at a safe point, an exit code."""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CODES = {"SIGINT": -signal.SIGINT, "SIGTERM": 143, "SIGUSR1": 138}
"""A script that does not catch KeyboardInterrupt ends by SIGINT, which a shell tells as 130."""

MOMENTS = {
    "in training": "on_train_batch_start 1",
    "in validation": "on_validation_batch_start 3",
    "after validation": "on_validation_end 3",
}
SHORT = [("SIGINT", "in training"), ("SIGTERM", "in validation"), ("SIGUSR1", "after validation")]


@pytest.fixture(scope="module")
def whole(script_of_module: Callable[..., Any], tmp_path_factory: Any) -> Any:
    one = script_of_module("fit", root=str(tmp_path_factory.mktemp("whole")))
    assert one.wait() == 0, one.told()
    return one


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        pytest.param(*both, marks=[] if both in SHORT else [pytest.mark.whole])
        for both in itertools.product(CODES, MOMENTS)
    ],
)
def test_once(
    name: str,
    moment: str,
    whole: Any,
    tmp_path: Path,
    script: Callable[..., Any],
    assert_same: Callable[[Any, Any], None],
) -> None:
    """With Preemption and a ModelCheckpoint that saves rarely: what is done is not lost."""
    words: dict[str, Any] = {"root": str(tmp_path), "saving": {"every_n_train_steps": 1000}}
    words["preemption"] = {"grace_seconds": 60}
    one = script("fit", harm={MOMENTS[moment]: name}, **words)
    assert one.wait() == CODES[name], one.told()
    check_end(one, name)
    again = script("fit", seed=100, **words)
    assert again.wait() == 0, again.told()
    step = 2 if moment == "in training" else 3
    assert again.notes[1] == f"start {step}", "the step under way was finished"
    assert_same(again, whole)


def check_end(one: Any, name: str) -> None:
    assert one.notes.count("teardown fit") == 1
    raised = "KeyboardInterrupt" if name == "SIGINT" else "Preempted"
    assert one.notes.count(f"exception {raised}") == 1
    assert one.notes[-1] == "handlers as before"


@pytest.mark.parametrize(
    ("name", "asynchronous"),
    [
        *(("SIGTERM", False), ("SIGINT", True)),
        pytest.param("SIGINT", False, marks=pytest.mark.whole),
        pytest.param("SIGTERM", True, marks=pytest.mark.whole),
    ],
)
def test_in_saving(
    name: str, asynchronous: bool, tmp_path: Path, script: Callable[..., Any]
) -> None:
    """The save is finished, and everything before it."""
    words = {"root": str(tmp_path), "saving": {"asynchronous": asynchronous}}
    one = script("slow_save", **words)
    one.wait_for("saving 3")
    one.send(getattr(signal, name))
    assert one.wait() == CODES[name], one.told()
    check_end(one, name)
    (left,) = (n for n in os.listdir(tmp_path / "checkpoints"))
    assert left in ("step=3.ckpt", "step=4.ckpt")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_second_one_ends_at_once(name: str, tmp_path: Path, script: Callable[..., Any]) -> None:
    """In a step that does not come to its end."""
    one = script("fit", root=str(tmp_path), harm={"on_train_batch_start 2": "hang"})
    one.wait_for("at on_train_batch_start 2")
    one.send(getattr(signal, name))
    one.wait_for_error("stopping at the next safe point; send it again to stop at once")
    one.send(getattr(signal, name))
    assert one.wait(20) == -getattr(signal, name), one.told()
    assert "step=2.ckpt" in os.listdir(tmp_path / "checkpoints")


def test_a_grace_that_is_over_ends_at_once(tmp_path: Path, script: Callable[..., Any]) -> None:
    words: dict[str, Any] = {"harm": {"on_train_batch_start 2": "hang"}}
    one = script("fit", root=str(tmp_path), preemption={"grace_seconds": 1}, **words)
    one.wait_for("at on_train_batch_start 2")
    one.send(signal.SIGTERM)
    assert one.wait(30) == 143, one.told()
    assert "in at" in one.errors, "where it hung is told"


def test_what_nobody_asked_for_is_left_alone(tmp_path: Path, script: Callable[..., Any]) -> None:
    one = script("fit", root=str(tmp_path), harm={"on_train_batch_start 2": "SIGUSR1"})
    assert one.wait() == -signal.SIGUSR1
