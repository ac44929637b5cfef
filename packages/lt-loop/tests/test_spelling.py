"""A misspelt name is answered with the closest valid one, or not at all."""

import pytest

from lt_loop.spelling import closest, suggestion

NAMES = ["max_epochs", "min_epochs", "max_steps", "devices"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_epoch", "max_epochs"),
        ("mix_epochs", "min_epochs"),
        ("maxsteps", "max_steps"),
        ("device", "devices"),
        ("devcies", "devices"),
        ("banana", None),
        ("", None),
    ],
)
def test_the_closest_of_several_names_is_found(name: str, expected: str | None) -> None:
    assert closest(name, NAMES) == expected


def test_how_close_it_must_be_is_the_callers_choice() -> None:
    assert closest("steps", NAMES, cutoff=0.7) == "max_steps"
    assert closest("steps", NAMES, cutoff=0.8) is None


def test_names_may_come_from_anything_that_can_be_iterated() -> None:
    assert closest("device", (name for name in NAMES)) == "devices"
    assert closest("device", dict.fromkeys(NAMES)) == "devices"
    assert closest("device", []) is None


def test_a_suggestion_can_be_added_to_any_sentence() -> None:
    assert f"Received 'device'.{suggestion('device', NAMES)}" == (
        "Received 'device'. Did you mean 'devices'?"
    )
    assert f"Received 'banana'.{suggestion('banana', NAMES)}" == "Received 'banana'."


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_closest_to_itself(name: str) -> None:
    assert closest(name, NAMES) == name
