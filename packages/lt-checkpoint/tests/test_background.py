"""Work beside the training."""

import functools
import signal
import threading
from collections.abc import Iterator

import pytest

from lt_checkpoint.background import Background, Piece


@pytest.fixture
def hung() -> Iterator[threading.Event]:
    """An event that nobody sets while the test runs."""
    event = threading.Event()
    yield event
    event.set()


def hold(event: threading.Event, _piece: Piece) -> None:
    event.wait()


def test_a_failure_is_handed_over_once() -> None:
    background = Background()
    background.start(lambda _: [][0])
    assert isinstance(background.take_failure(), IndexError)
    assert background.take_failure() is None


def test_who_is_interrupted_while_waiting_waits_no_more(hung: threading.Event) -> None:
    background = Background()
    background.start(functools.partial(hold, hung))
    waiting = threading.Timer(
        0.2, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]
    )
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        background.take_failure()
    assert isinstance(background.take_failure(), TimeoutError)
    assert background.take_failure() is None
    background.start(lambda _: None)
    assert background.take_failure() is None


def test_what_is_abandoned_is_not_waited_for(hung: threading.Event) -> None:
    background = Background()
    assert background.abandon() is None
    background.start(functools.partial(hold, hung))
    assert isinstance(background.abandon(), TimeoutError)
    assert background.take_failure() is None
    background.start(lambda _: [][0])
    assert isinstance(background.take_failure(), IndexError)


def test_work_that_was_given_up_knows_it_and_its_end_changes_nothing(
    hung: threading.Event,
) -> None:
    background, pieces = Background(0.1), []

    def late(piece: Piece) -> None:
        pieces.append(piece)
        hung.wait()
        raise OSError("too late to be told")

    background.start(late)
    thread = background._thread
    assert isinstance(background.take_failure(), TimeoutError)
    assert background.left_behind
    assert pieces[0].given_up
    hung.set()
    assert thread is not None
    thread.join()
    assert not background.failed
