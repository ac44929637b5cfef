"""Schedules are stepped when their interval is over; test_steps.py shows when that is in a fit."""

from typing import Any

import pytest

from lt_loop.logbook import Logbook
from lt_loop.optimizers import Schedule
from lt_loop.schedules import step_schedules
from lt_loop.solo import DuckBackend, OneProcess


class Stepped:
    """A scheduler that writes down what it was stepped with."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def step(self, *arguments: Any) -> None:
        self.seen.append(arguments)


def logbook(**values: float) -> Logbook:
    """A logbook in which these values were logged for an epoch."""
    book = Logbook(DuckBackend(), OneProcess(), ())
    book.page = book.training
    for name, value in values.items():
        book.log(name, value, 1, (False, None, False, True, "mean", False, True))
    book.settle(book.training)
    return book


def plateau(**fields: Any) -> Schedule:
    return Schedule(scheduler=Stepped(), reduce_on_plateau=True, **({"monitor": "loss"} | fields))


@pytest.mark.parametrize(
    ("frequency", "stepped"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (4, [4]), (7, [])]
)
def test_a_schedule_is_stepped_where_its_frequency_divides_the_count(
    frequency: int, stepped: list[int]
) -> None:
    schedule = Schedule(scheduler=Stepped(), frequency=frequency)
    at = []
    for count in range(1, 7):
        before = len(schedule.scheduler.seen)
        step_schedules([schedule], count, logbook())
        at += [count] * (len(schedule.scheduler.seen) - before)

    assert at == stepped


def test_each_schedule_has_a_frequency_of_its_own() -> None:
    schedules = [Schedule(scheduler=Stepped(), frequency=frequency) for frequency in (1, 2, 3)]

    step_schedules(schedules, 3, logbook())

    assert [schedule.scheduler.seen for schedule in schedules] == [[()], [], [()]]


def test_only_a_plateau_is_told_the_value() -> None:
    told, untold = plateau(), Schedule(scheduler=Stepped(), monitor="loss")

    step_schedules([told, untold], 1, logbook(loss=0.5))

    assert (told.scheduler.seen, untold.scheduler.seen) == ([(0.5,)], [()])
    assert type(told.scheduler.seen[0][0]) is float


def test_the_program_may_step_them_itself() -> None:
    calls: list[Any] = []
    ordinary, told = Schedule(scheduler=Stepped()), plateau()

    def own(scheduler: Any, metric: Any) -> None:
        calls.append((scheduler, metric))

    step_schedules([ordinary, told], 1, logbook(loss=0.5), (own,))

    assert calls == [(ordinary.scheduler, None), (told.scheduler, 0.5)]
    assert ordinary.scheduler.seen == told.scheduler.seen == []


@pytest.mark.parametrize(
    ("values", "received"),
    [
        ({"train_loss": 1.0, "los": 2.0}, r"train_loss, los\. Did you mean 'los'\?"),
        ({"accuracy": 1.0}, r"accuracy\."),
        ({}, r"nothing\."),
    ],
    ids=str,
)
def test_a_value_that_was_not_logged_is_missed(values: dict[str, float], received: str) -> None:
    message = (
        r"^Stepped monitors a logged value\. Received monitor='loss', but what was logged is "
        rf"{received} Log it, or set strict=False\.$"
    )
    with pytest.raises(LookupError, match=message):
        step_schedules([plateau()], 1, logbook(**values))


def test_a_value_may_be_missing_where_nobody_insists() -> None:
    patient, ordinary = plateau(strict=False), Schedule(scheduler=Stepped())

    step_schedules([patient, ordinary], 1, logbook())

    assert (patient.scheduler.seen, ordinary.scheduler.seen) == ([], [()])


def test_a_value_is_missed_only_when_it_is_wanted() -> None:
    schedule = plateau(frequency=2)

    step_schedules([schedule], 1, logbook())
    with pytest.raises(LookupError):
        step_schedules([schedule], 2, logbook())
