"""Who hears Ctrl-C; test_lifecycle.py shows what a run makes of it."""

import logging
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lt_loop.interrupt import stopping_at_safe_point


def a_run() -> Any:
    return SimpleNamespace(interrupted=False)


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
            reached.append(f"interrupted: {run.interrupted}")
            press_ctrl_c()
            reached.append("not here")

    with caplog.at_level(logging.WARNING, "lt_loop"), pytest.raises(KeyboardInterrupt):
        body()

    assert reached == ["interrupted: True"]
    assert caplog.messages == [
        "Ctrl-C: stopping at the next safe point; press it again to stop at once"
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


@pytest.mark.parametrize("taken", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_that_is_ignored_or_left_to_the_system_stays_so(taken: signal.Handlers) -> None:
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
            assert (outer.interrupted, inner.interrupted) == (True, False)

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
