"""How long a run may be: each number is checked when it is given."""

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_loop import Limits
from lt_loop.limits import batches_within

SHARES = [
    *(f"limit_{phase}_batches" for phase in ("train", "val", "test", "predict")),
    "overfit_batches",
]


# Numbers out of their range


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("max_epochs", -5, "at least 0, or -1 for no limit"),
        ("max_epochs", -2, "at least 0, or -1 for no limit"),
        ("max_steps", -2, "at least 0, or -1 for no limit"),
        ("num_sanity_val_steps", -2, "at least -1"),
        ("min_epochs", -1, "at least 0"),
        ("min_steps", -1, "at least 0"),
        ("check_val_every_n_epoch", 0, "at least 1"),
        ("accumulate_grad_batches", 0, "at least 1"),
        ("log_every_n_steps", 0, "at least 1"),
        *((name, -1, "at least 0") for name in SHARES),
        *((name, -0.5, "at least 0") for name in SHARES),
        ("val_check_interval", 0, "more than 0"),
        ("val_check_interval", 0.0, "more than 0"),
        ("val_check_interval", -3, "more than 0"),
    ],
)
def test_a_number_below_its_range_is_refused(name: str, value: float, rule: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be {rule}\. Received {name}={value}\.$"):
        Limits(**{name: value})


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("max_epochs", -1),
        ("max_epochs", 0),
        ("max_steps", -1),
        ("max_steps", 0),
        ("num_sanity_val_steps", -1),
        ("min_epochs", 0),
        ("min_steps", 0),
        ("check_val_every_n_epoch", 1),
        ("accumulate_grad_batches", 1),
        ("log_every_n_steps", 1),
        *((name, 0) for name in SHARES),
        ("val_check_interval", 1),
        ("gradient_clip_val", 0),
    ],
)
def test_the_least_number_of_each_range_is_taken(name: str, least: int) -> None:
    assert getattr(Limits(**{name: least}), name) == least


@pytest.mark.parametrize("name", [*SHARES, "val_check_interval"])
@pytest.mark.parametrize(("value", "count"), [(1.5, 2), (10.0, 10), (1.0001, 1)])
def test_a_share_above_one_is_refused_with_the_count_that_may_be_meant(
    name: str, value: float, count: int
) -> None:
    message = (
        rf"^{name} as a float is a share between 0\.0 and 1\.0\. Received {name}={value}\. "
        rf"For a number of batches give an int: {name}={count}\.$"
    )
    with pytest.raises(ValueError, match=message):
        Limits(**{name: value})


@pytest.mark.parametrize(
    ("low", "high"), [("min_epochs", "max_epochs"), ("min_steps", "max_steps")]
)
def test_a_minimum_above_its_maximum_is_refused(low: str, high: str) -> None:
    message = rf"{low} may not exceed {high}\. Received {low}=3 and {high}=2\."
    with pytest.raises(ValueError, match=message):
        Limits(**{low: 3, high: 2})

    with pytest.raises(ValueError, match=rf"Received {low}=1 and {high}=0\."):
        Limits(**{low: 1, high: 0})
    Limits(**{low: 3, high: 3})
    Limits(**{low: 3, high: -1})


def test_batches_counted_across_epochs_are_no_share_of_one() -> None:
    message = (
        r"^check_val_every_n_epoch=None counts the batches of val_check_interval across epochs\. "
        r"Received val_check_interval=0\.5, a share of one\. Give a number of batches\.$"
    )
    with pytest.raises(ValueError, match=message):
        Limits(check_val_every_n_epoch=None, val_check_interval=0.5)

    assert Limits(check_val_every_n_epoch=None, val_check_interval=5).val_check_interval == 5


# Values of the wrong type


COUNTS = [
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "num_sanity_val_steps"),
    *("check_val_every_n_epoch", "accumulate_grad_batches", "log_every_n_steps"),
]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [2.0, "2", True, [2]], ids=repr)
def test_a_count_that_is_no_int_is_refused(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be an int\. Received {name}=") as caught:
        Limits(**{name: value})

    assert f"{name}={value!r}." in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in SHARES for value in ("1", True, None, [1])),
        *(("val_check_interval", value) for value in (True, None, [1])),  # "1" is no duration
    ],
)
def test_what_is_neither_a_count_nor_a_share_is_refused(name: str, value: Any) -> None:
    message = rf"^{name} must be an int \(a number of .*\) or a float \(a share .*\)\. Received"
    with pytest.raises(TypeError, match=message) as caught:
        Limits(**{name: value})

    assert f"{name}={value!r}." in str(caught.value)


# Clipping


@pytest.mark.parametrize("value", [-0.5, float("nan")])
def test_gradients_are_not_clipped_to_less_than_nothing(value: float) -> None:
    message = rf"gradient_clip_val must be positive, or None or 0 for no .*\. Received {value}\."
    with pytest.raises(ValueError, match=message):
        Limits(gradient_clip_val=value)


@pytest.mark.parametrize("value", ["1.0", True], ids=repr)
def test_a_clip_value_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(
        TypeError, match=rf"gradient_clip_val must be a number\. Received {value!r}"
    ):
        Limits(gradient_clip_val=value)


def test_an_unknown_way_of_clipping_is_refused_even_where_nothing_is_clipped() -> None:
    message = r"must be 'norm' or 'value'\. Received gradient_clip_algorithm='inf'\."
    with pytest.raises(ValueError, match=message):
        Limits(gradient_clip_algorithm="inf")  # type: ignore[arg-type]


# Time


@pytest.mark.parametrize(
    ("max_time", "seconds"),
    [
        ("00:00:00:30", 30.0),
        ("01:02:03:04", 93784.0),
        ("100:00:00:00", 8640000.0),
        (datetime.timedelta(minutes=1, milliseconds=500), 60.5),
        ({"hours": 2, "minutes": 1}, 7260.0),
        (None, None),
    ],
)
def test_time_is_read_in_three_spellings(max_time: Any, seconds: float | None) -> None:
    assert Limits(max_time=max_time).max_seconds == seconds


@pytest.mark.parametrize(
    "max_time", ["", "30", "00:30:00", "1:2:3:4", "00:00:00:30 ", "a:00:00:00"]
)
def test_a_time_spelt_in_another_way_is_refused(max_time: str) -> None:
    message = r"is 'DD:HH:MM:SS' \(days, hours, minutes, seconds\)\. Received max_time="
    with pytest.raises(ValueError, match=message) as caught:
        Limits(max_time=max_time)

    assert f"max_time={max_time!r}." in str(caught.value)


@pytest.mark.parametrize("max_time", [30, {"fortnights": 1}, {"hours": "2"}], ids=repr)
def test_what_is_no_time_is_refused(max_time: Any) -> None:
    message = r"max_time must be 'DD:HH:MM:SS', a timedelta or a dict .*\. Received max_time="
    with pytest.raises(TypeError, match=message) as caught:
        Limits(max_time=max_time)

    assert f"max_time={max_time!r}." in str(caught.value)


# Which limit ends a run


@pytest.mark.parametrize(
    ("words", "epochs", "steps"),
    [
        ({}, 1000, None),
        ({"max_epochs": 3}, 3, None),
        ({"max_epochs": 0}, 0, None),
        ({"max_epochs": -1}, None, None),
        ({"max_steps": 7}, None, 7),
        ({"max_steps": 0}, None, 0),
        ({"max_time": "00:00:00:01"}, None, None),
        ({"max_epochs": 3, "max_steps": 7}, 3, 7),
        ({"max_epochs": 3, "max_time": "00:00:00:01"}, 3, None),
    ],
    ids=str,
)
def test_a_thousand_epochs_end_a_run_only_where_no_other_limit_does(
    words: dict[str, Any], epochs: int | None, steps: int | None
) -> None:
    limits = Limits(**words)

    assert (limits.epochs, limits.steps) == (epochs, steps)


# How many batches a limit lets through


@pytest.mark.parametrize(
    ("limit", "length", "expected"),
    [
        (0, 10, 0),
        (3, 10, 3),
        (30, 10, 10),
        (0.0, 10, 0),
        (0.5, 10, 5),
        (0.19, 10, 1),
        (1.0, 10, 10),
        (1.0, 0, 0),
        (0.5, 0, 0),
        (1, 10, 1),  # an int is a count, never a share
        (0, None, 0),
        (30, None, 30),
        (0.0, None, 0),
        (1.0, None, None),
    ],
)
def test_a_limit_lets_so_many_batches_through(
    limit: float, length: int | None, expected: int | None
) -> None:
    assert batches_within(limit, length, name="limit_val_batches") == expected


def test_a_share_of_an_unknown_number_is_refused() -> None:
    message = (
        r"^limit_val_batches as a share needs a loader with a length\. Received "
        r"limit_val_batches=0\.5 and a loader without\. Give a number of batches\.$"
    )
    with pytest.raises(ValueError, match=message):
        batches_within(0.5, None, name="limit_val_batches")


def test_a_share_of_less_than_one_batch_is_refused_and_not_taken_for_none() -> None:
    message = (
        r"^limit_val_batches must let at least one batch through\. Received "
        r"limit_val_batches=0\.1 of 8 batches\. Give at least 0\.125, a number of batches, or 0"
    )
    with pytest.raises(ValueError, match=message):
        batches_within(0.1, 8, name="limit_val_batches")


@given(st.integers(1, 10_000), st.floats(0.0, 1.0))
def test_no_share_lets_more_through_than_there_is(length: int, share: float) -> None:
    try:
        count = batches_within(share, length, name="limit_val_batches")
    except ValueError:
        assert 0.0 < share * length < 1.0
    else:
        assert count is not None
        assert count <= length
        assert (count == 0) == (share == 0.0)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, r"maps epochs, from 0, to numbers of batches\. Received .*=\{\}"),
        ({-1: 2}, ValueError, r"maps epochs, from 0, .*\{-1: 2\}"),
        ({"4": 2}, ValueError, r"maps epochs, from 0, .*\{'4': 2\}"),
        ({4: 0}, ValueError, r"accumulate_grad_batches\[4\] must be at least 1\. Received .*=0"),
        ({4: 1.5}, TypeError, r"accumulate_grad_batches\[4\] must be an int\. Received .*=1\.5"),
    ],
    ids=str,
)
def test_a_schedule_of_accumulation_maps_epochs_to_batches(
    given: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Limits(accumulate_grad_batches=given)


def test_a_schedule_of_accumulation_begins_with_steps_of_one_batch() -> None:
    limits = Limits(accumulate_grad_batches={2: 4, 5: 8})

    assert [limits.accumulation(epoch) for epoch in range(7)] == [1, 1, 4, 4, 4, 8, 8]
    assert limits.accumulates
    assert not Limits(accumulate_grad_batches={3: 1}).accumulates


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["limit_train_batches", "val_check_interval"])
def test_shares_are_finite(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be a finite number\. Received {name}="):
        Limits(**{name: value})


def test_a_time_is_not_negative() -> None:
    with pytest.raises(ValueError, match=r"^max_time may not be negative\. Received .*days=-1"):
        Limits(max_time={"days": -1})


@pytest.mark.parametrize("length", [1, 3, 7, 9, 1000, 4567])
def test_the_share_that_is_advised_lets_a_batch_through(length: int) -> None:
    with pytest.raises(ValueError, match=r"Give at least") as caught:
        batches_within(1e-9, length, name="limit_val_batches")

    share = float(str(caught.value).split("Give at least ")[1].split(",")[0])
    assert batches_within(share, length, name="limit_val_batches") >= 1


# Validation by the clock


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [
        ("00:00:15:00", 900.0),
        ("01:02:03:04", 93784.0),
        (datetime.timedelta(minutes=1.5), 90.0),
        ({"hours": 2, "minutes": 30}, 9000.0),
        (3, None),
        (0.5, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("check", [1, 2, None])
def test_an_interval_of_validation_may_be_a_time(
    interval: Any, seconds: float | None, check: int | None
) -> None:
    if check is None and isinstance(interval, float):
        return
    limits = Limits(val_check_interval=interval, check_val_every_n_epoch=check)

    assert limits.val_check_seconds == seconds
    assert limits.max_seconds is None


@pytest.mark.parametrize(
    ("interval", "kind", "message"),
    [
        ("15:00", ValueError, "val_check_interval as a string is 'DD:HH:MM:SS'"),
        ("1", ValueError, "val_check_interval as a string is 'DD:HH:MM:SS'"),
        ({"minuets": 3}, TypeError, "val_check_interval must be 'DD:HH:MM:SS', a timedelta or"),
        ("00:00:00:00", ValueError, "val_check_interval must be longer than nothing"),
        ({"seconds": 0}, ValueError, "val_check_interval must be longer than nothing"),
        ({"seconds": -1}, ValueError, "val_check_interval may not be negative"),
    ],
    ids=str,
)
def test_a_time_that_is_none_is_refused(interval: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=rf"^{message}.*Received val_check_interval="):
        Limits(val_check_interval=interval)


@pytest.mark.parametrize(
    ("check", "epochs"), [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [2, 5]), (None, range(6))]
)
def test_some_epochs_have_validations(check: int | None, epochs: Any) -> None:
    limits = Limits(check_val_every_n_epoch=check, val_check_interval=1)

    assert [epoch for epoch in range(6) if limits.validates_in(epoch)] == list(epochs)


# Overfitting and reloading


@pytest.mark.parametrize("overfit", [3, 0.25, 1, 1.0])
def test_overfitting_takes_the_place_of_two_limits(overfit: float) -> None:
    limits = Limits(
        overfit_batches=overfit, limit_train_batches=7, limit_val_batches=8, limit_test_batches=9
    )

    assert limits.limit_train_batches is limits.limit_val_batches is overfit
    assert limits.limit_test_batches == 9


@pytest.mark.parametrize("overfit", [0, 0.0])
def test_no_overfitting_leaves_the_limits_alone(overfit: float) -> None:
    limits = Limits(overfit_batches=overfit, limit_train_batches=7)

    assert (limits.limit_train_batches, limits.limit_val_batches) == (7, 1.0)


@pytest.mark.parametrize("nothing", [0, 0.0])
def test_overfitting_without_validation(nothing: float) -> None:
    assert Limits(overfit_batches=2, limit_val_batches=nothing).limit_val_batches == 0


@pytest.mark.parametrize("value", [-1, True, 1.0, "2"], ids=repr)
def test_reloading_counts_epochs(value: Any) -> None:
    message = r"^reload_dataloaders_every_n_epochs must be (an int|at least 0)\. Received reload"
    with pytest.raises((TypeError, ValueError), match=message):
        Limits(reload_dataloaders_every_n_epochs=value)
    assert Limits(reload_dataloaders_every_n_epochs=3).reload_dataloaders_every_n_epochs == 3
