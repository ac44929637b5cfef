"""Who hears Ctrl-C; test_lifecycle.py shows what a run makes of it."""

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lt_loop import Callback
from lt_loop.interrupt import stopping_at_safe_point
from lt_loop.run import Preempted, Run


class ARun:
    """As much of a run as the handler knows."""

    def __init__(self, *callbacks: Callback) -> None:
        self.signal, self.at_once, self.callbacks = 0, False, callbacks

    raise_for_signal = Run.raise_for_signal


def a_run(*callbacks: Callback) -> Any:
    return ARun(*callbacks)


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_one_is_a_request_and_the_second_one_an_exception(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = a_run()
    reached: list[str] = []

    def body() -> None:
        with stopping_at_safe_point(run):
            press_ctrl_c()
            reached.append(f"signal: {run.signal}, at once: {run.at_once}")
            press_ctrl_c()
            reached.append("not here")

    with caplog.at_level(logging.WARNING, "lt_loop"), pytest.raises(KeyboardInterrupt):
        body()

    assert reached == [f"signal: {int(signal.SIGINT)}, at once: False"]
    assert run.at_once
    assert caplog.messages == [
        "SIGINT: stopping at the next safe point; send it again to stop at once"
    ]


def test_a_request_that_no_safe_point_answered_is_answered_at_the_end() -> None:
    reached: list[str] = []

    def body() -> None:
        with stopping_at_safe_point(a_run()):
            press_ctrl_c()
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        body()

    assert reached == ["the end"]


def test_an_exception_after_a_request_is_what_comes_out() -> None:
    def body() -> None:
        with stopping_at_safe_point(a_run()):
            press_ctrl_c()
            raise ArithmeticError("mine")

    with pytest.raises(ArithmeticError, match="mine"):
        body()


@pytest.mark.parametrize("error", [None, ArithmeticError(), KeyboardInterrupt()], ids=repr)
def test_the_signal_is_given_back(error: BaseException | None) -> None:
    def body() -> None:
        with stopping_at_safe_point(a_run()):
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            body()
    else:
        body()

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _of_ones_own(number: int, frame: Any) -> None:
    pass


@pytest.mark.parametrize("taken", [signal.SIG_IGN, _of_ones_own], ids=["ignored", "taken"])
def test_a_signal_that_is_ignored_or_taken_stays_so(taken: Any) -> None:
    signal.signal(signal.SIGINT, taken)

    with stopping_at_safe_point(a_run()):
        assert signal.getsignal(signal.SIGINT) == taken

    assert signal.getsignal(signal.SIGINT) == taken


def test_a_run_within_a_run_leaves_the_signal_to_the_outer_one() -> None:
    outer, inner = a_run(), a_run()

    def body() -> None:
        with stopping_at_safe_point(outer):
            with stopping_at_safe_point(inner):
                press_ctrl_c()
            assert (outer.signal, inner.signal) == (signal.SIGINT, 0)

    with pytest.raises(KeyboardInterrupt):
        body()


def test_a_run_in_another_thread_leaves_the_signal_alone() -> None:
    """Python lets only the main thread take one."""
    seen: list[Any] = []

    def body() -> None:
        with stopping_at_safe_point(a_run()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()

    assert seen == [signal.default_int_handler]


class WantsUsr1(Callback):
    signals = ("SIGUSR1",)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no SIGUSR1 on this system")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_to_be_told_to_end_is_a_request_with_an_exit_code(name: str) -> None:
    number = getattr(signal, name)

    def body() -> None:
        with stopping_at_safe_point(a_run(WantsUsr1())):
            signal.raise_signal(number)

    with pytest.raises(Preempted, match=f"{name} received") as caught:
        body()

    assert (caught.value.code, caught.value.signal) == (128 + number, number)
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no SIGUSR1 on this system")
def test_a_signal_that_nobody_names_is_left_alone() -> None:
    with stopping_at_safe_point(a_run()):
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


IMPATIENT = """
import time
from lt_loop import Callback
from toys import Line, batches, make_trainer

class Impatient(Callback):
    grace_seconds = 0.2

class Slow(Line):
    def training_step(self, batch, batch_idx):
        print("computing", flush=True)
        time.sleep(30)
        print("done", flush=True)

make_trainer(callbacks=Impatient()).fit(Slow(), batches(2))
"""


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to send on this system")
def test_a_run_that_takes_longer_than_its_grace_is_ended_with_its_stacks() -> None:
    here = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.append({here!r}){IMPATIENT}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=25)

    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    assert "in training_step" in errors
