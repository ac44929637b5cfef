"""What parameter groups are called, against the names that Lightning's documentation gives."""

from types import SimpleNamespace
from typing import Any

import pytest

from lt_callbacks.optimizer_names import named_optimizers


class Adam:
    def __init__(self, *groups: dict[str, Any]) -> None:
        self.param_groups = list(groups) or [{}]


class SGD(Adam):
    pass


def schedule(optimizer: Any, name: str | None = None, interval: str = "epoch") -> Any:
    scheduler = SimpleNamespace(optimizer=optimizer)
    return SimpleNamespace(scheduler=scheduler, name=name, interval=interval)


def names(schedules: list[Any], optimizers: list[Any]) -> list[tuple[str, ...]]:
    return [one.names for one in named_optimizers(schedules, optimizers)]


def test_an_optimizer_goes_by_its_class() -> None:
    assert names([], [Adam()]) == [("lr-Adam",)]


def test_several_of_a_class_are_counted_from_the_second_on() -> None:
    assert names([], [Adam(), SGD(), Adam(), Adam()]) == [
        ("lr-Adam",),
        ("lr-SGD",),
        ("lr-Adam-1",),
        ("lr-Adam-2",),
    ]


def test_parameter_groups_are_counted_or_named() -> None:
    assert names([], [Adam({}, {"name": "head"}, {})]) == [
        ("lr-Adam/pg1", "lr-Adam/head", "lr-Adam/pg3")
    ]
    assert names([], [Adam({"name": "only"})]) == [("lr-Adam/only",)]


def test_schedules_come_first_and_may_have_names() -> None:
    first, second = Adam(), Adam({}, {})

    found = named_optimizers([schedule(second, "warmup", "step")], [first, second])

    assert [one.names for one in found] == [("warmup/pg1", "warmup/pg2"), ("lr-Adam",)]
    assert [one.interval for one in found] == ["step", None]
    assert [one.optimizer for one in found] == [second, first]


def test_an_optimizer_with_two_schedules_is_there_twice() -> None:
    one = Adam()

    assert names([schedule(one), schedule(one)], [one]) == [("lr-Adam",), ("lr-Adam-1",)]


def test_the_optimizer_in_a_wrapper_is_meant() -> None:
    one = SGD()

    assert names([schedule(one)], [SimpleNamespace(optimizer=one)]) == [("lr-SGD",)]


def test_what_has_no_parameter_groups_has_no_learning_rate() -> None:
    assert names([], [object()]) == []


@pytest.mark.parametrize(
    ("schedules", "optimizers"),
    [
        ([], [Adam({"name": "a"}, {"name": "a"})]),
        ([schedule(Adam(), "x"), schedule(SGD(), "x")], []),
        ([], [Adam({"name": "pg2"}, {})]),
    ],
)
def test_two_that_go_by_one_name_are_refused(schedules: list[Any], optimizers: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"has a name of its own\. Received two .* called '.*'"):
        named_optimizers(schedules, optimizers)
