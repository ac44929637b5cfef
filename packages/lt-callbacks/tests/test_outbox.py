"""The outbox against receivers that are slow, down, or particular."""

import gc
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_callbacks import outbox
from lt_callbacks.outbox import Outbox

SECONDS = 30.0  # of patience, none of which is used


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a millisecond."""
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.001)


class Receiver:
    """Takes what it is given, unless it is down; refuses some records for what they are."""

    def __init__(self, *, down: int = 0, refuses: Any = ()) -> None:
        self.down, self.refuses = down, set(refuses)
        self.received: list[int] = []
        self.calls: list[list[int]] = []

    def __call__(self, records: list[int]) -> None:
        self.calls.append(records)
        if self.down > 0:
            self.down -= 1
            raise ConnectionError("down")
        if self.refuses & set(records):
            raise ValueError(f"refused {records}")
        self.received += records


class Gate:
    """A receiver that takes nothing before it is opened."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.received: list[int] = []

    def __call__(self, records: list[int]) -> None:
        self.entered.set()
        assert self.open.wait(SECONDS)
        self.received += records


def sent(receiver: Any, records: Any, **words: Any) -> Outbox[int]:
    box: Outbox[int] = Outbox(receiver, **{"capacity": 1000} | words)
    for record in records:
        assert box.put(record)
    assert box.flush(SECONDS)
    return box


def test_everything_arrives_in_order() -> None:
    receiver = Receiver()

    box = sent(receiver, range(500), at_once=7)

    assert receiver.received == list(range(500))
    assert max(map(len, receiver.calls)) <= 7
    assert (len(box), box.lost, box.failure) == (0, 0, None)


@pytest.mark.parametrize("down", [1, 2, 5, 20])
def test_a_receiver_that_was_down_gets_everything(down: int) -> None:
    receiver = Receiver(down=down)

    box = sent(receiver, range(40), at_once=5)

    assert sorted(receiver.received) == list(range(40))
    assert box.lost == 0
    assert isinstance(box.failure, ConnectionError)


@given(
    refused=st.sets(st.integers(0, 29), max_size=10).filter(
        # three in a row look like a receiver that is down, and so does one that nothing follows
        lambda found: not any({n, n + 1, n + 2} <= found for n in found) and 29 not in found
    ),
    at_once=st.integers(4, 40),
)
@settings(max_examples=30, deadline=None)
def test_a_refused_record_keeps_nobody_else(refused: set[int], at_once: int) -> None:
    gate = threading.Event()
    receiver = Receiver(refuses=refused)

    def deliver(records: list[int]) -> None:
        gate.wait(SECONDS)
        receiver(records)

    box: Outbox[int] = Outbox(deliver, capacity=100, at_once=at_once)
    for record in range(30):
        box.put(record)
    gate.set()

    assert box.flush(SECONDS)
    assert receiver.received == [n for n in range(30) if n not in refused]
    assert box.take_trouble()[0] == len(refused)


def test_nobody_waits_for_a_receiver_that_hangs() -> None:
    gate = Gate()
    box: Outbox[int] = Outbox(gate, capacity=3)
    box.put(0)
    assert gate.entered.wait(SECONDS)

    placed = [box.put(record) for record in range(1, 6)]
    in_time = box.flush(0.001)
    waiting = len(box)
    gate.open.set()
    assert box.flush(SECONDS)

    assert placed == [True, True, False, False, False]
    assert (in_time, waiting) == (False, 3)
    assert gate.received == [0, 1, 2]
    assert box.take_trouble() == (3, None)
    assert box.take_trouble() == (0, None)


def test_the_thread_goes_when_there_is_nothing_to_do_and_comes_back() -> None:
    threads = []

    def deliver(records: list[int]) -> None:
        threads.append(threading.current_thread())

    box = sent(deliver, [1])
    threads[0].join(SECONDS)
    gone = not threads[0].is_alive()
    box.put(2)
    assert box.flush(SECONDS)

    assert gone
    assert threads[0] is not threads[1]
    assert all(thread.daemon for thread in threads)


def test_a_flush_does_not_wait_for_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 3600.0)
    failed = threading.Event()
    receiver = Receiver(down=1)

    def deliver(records: list[int]) -> None:
        try:
            receiver(records)
        finally:
            failed.set()

    box: Outbox[int] = Outbox(deliver, capacity=10)
    box.put(1)
    assert failed.wait(SECONDS)

    assert box.flush(SECONDS)
    assert receiver.received == [1]


def test_what_was_delivered_is_let_go() -> None:
    class Item:
        pass

    box: Outbox[Item] = Outbox(lambda records: None, capacity=10)
    box.put(Item())
    assert box.flush(SECONDS)
    if box._thread is not None:
        box._thread.join(SECONDS)

    assert not [found for found in gc.get_objects() if type(found) is Item]
