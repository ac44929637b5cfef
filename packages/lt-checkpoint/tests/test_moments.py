from datetime import timedelta
from typing import Any

import pytest

from lt_checkpoint.moments import Moments


def test_every_epoch_where_nothing_is_said() -> None:
    moments = Moments()
    moments.start(0)
    assert all(moments.after_epoch(epoch) for epoch in range(3))
    assert not any(moments.after_step(step) for step in range(5))
    assert not moments.by_time


def test_by_epochs() -> None:
    moments = Moments(every_n_epochs=3)
    assert [epoch for epoch in range(9) if moments.after_epoch(epoch)] == [2, 5, 8]


def test_by_steps_once_for_each() -> None:
    moments = Moments(every_n_train_steps=2)
    moments.start(0)
    asked = [0, 0, 1, 1, 2, 2, 3, 4, 4]
    assert [moments.after_step(step) for step in asked] == [
        *(False, False, False, False, True, False, False, True, False)
    ]
    assert not moments.after_epoch(0)


def test_after_a_resume_the_step_it_was_saved_at_is_not_due() -> None:
    moments = Moments(every_n_train_steps=2)
    moments.start(4)
    assert not moments.after_step(4)
    assert moments.after_step(6)


def test_by_time() -> None:
    now = [100.0]
    moments = Moments(train_time_interval=timedelta(seconds=10), clock=lambda: now[0])
    moments.start(0)
    found = []
    for now[0] in (101.0, 109.9, 110.0, 111.0, 125.0, 134.0, 135.0):
        found.append(moments.after_time())
    assert found == [False, False, True, False, True, False, True]


def test_zero_switches_off() -> None:
    moments = Moments(every_n_epochs=0)
    assert not moments.after_epoch(0)
    moments = Moments(every_n_train_steps=0, every_n_epochs=2)
    assert moments.after_epoch(1)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"every_n_train_steps": -1}, ValueError),
        ({"every_n_epochs": -1}, ValueError),
        ({"every_n_epochs": 1.0}, TypeError),
        ({"every_n_train_steps": True}, TypeError),
        ({"train_time_interval": 30}, TypeError),
        ({"train_time_interval": timedelta(seconds=-1)}, ValueError),
        ({"every_n_epochs": 1, "every_n_train_steps": 1}, ValueError),
        ({"every_n_epochs": 1, "train_time_interval": timedelta(0)}, ValueError),
    ],
)
def test_what_can_not_be_is_refused(words: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(words))):
        Moments(**words)
