"""The rule against a table, and against oracles written in another way."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.stopping_rule import EarlyStoppingReason, StoppingRule

NAN, INF = math.nan, math.inf
PATIENCE = EarlyStoppingReason.PATIENCE_EXHAUSTED
STOPPING = EarlyStoppingReason.STOPPING_THRESHOLD
DIVERGENCE = EarlyStoppingReason.DIVERGENCE_THRESHOLD
NON_FINITE = EarlyStoppingReason.NON_FINITE_METRIC


def run(values: Sequence[float], **arguments: Any) -> tuple[int, EarlyStoppingReason] | None:
    """The index of the value at which the rule says stop, and why."""
    rule = StoppingRule(monitor="loss", **arguments)
    for index, value in enumerate(values):
        verdict = rule.judge(value)
        if verdict.stop:
            return index, verdict.reason
    return None


# Worked out by hand from the meaning of the arguments.
TABLE: list[tuple[dict[str, Any], list[float], tuple[int, EarlyStoppingReason] | None]] = [
    ({}, [5, 4, 3, 2, 1], None),
    ({}, [1, 1, 1, 1], (3, PATIENCE)),  # an equal value is no improvement
    ({}, [1, 2, 3, 0.5, 2, 3, 4], (6, PATIENCE)),  # an improvement starts the count anew
    ({}, [3, 4, 4, 2], None),
    ({"patience": 1}, [1, 0.5, 0.7], (2, PATIENCE)),
    ({"patience": 0}, [1, 0.5, 0.7], (2, PATIENCE)),  # zero waits no less than one
    ({"mode": "max", "patience": 2}, [1, 2, 3, 3, 2], (4, PATIENCE)),
    ({"mode": "max"}, [1, 2, 3, 4, 5], None),
    ({"min_delta": 0.5, "patience": 2}, [2, 1.5, 1.5], (2, PATIENCE)),  # 0.5 is not enough
    ({"min_delta": 0.5, "patience": 2}, [2, 1.25, 1.0, 0.5], None),  # measured from the best
    ({"min_delta": 0.5, "patience": 2, "mode": "max"}, [2, 2.5, 2.25], (2, PATIENCE)),
    ({"stopping_threshold": 1.0}, [3, 2, 1, 0.5], (3, STOPPING)),  # better, not equal
    ({"stopping_threshold": 1.0, "mode": "max"}, [0, 1, 1.5], (2, STOPPING)),
    ({"divergence_threshold": 10.0}, [3, 10, 10.5], (2, DIVERGENCE)),  # worse, not equal
    ({"divergence_threshold": 0.0, "mode": "max"}, [3, 0, -1], (2, DIVERGENCE)),
    ({}, [3, NAN], (1, NON_FINITE)),
    ({}, [3, -INF], (1, NON_FINITE)),
    ({"stopping_threshold": 1.0}, [-INF], (0, NON_FINITE)),  # which is looked at first
    ({"check_finite": False, "patience": 2}, [3, NAN, 2, NAN, NAN], (4, PATIENCE)),
    ({"check_finite": False, "patience": 1}, [3, -INF, INF], (2, PATIENCE)),
    ({"check_finite": False, "stopping_threshold": 1.0}, [3, -INF], (1, STOPPING)),
    ({"check_finite": False, "divergence_threshold": 9.0}, [INF], (0, DIVERGENCE)),
    ({"min_delta": -0.5, "patience": 2}, [1, 1.25, 1.5, 1.75], None),  # a tolerance
]


@pytest.mark.parametrize(("arguments", "values", "expected"), TABLE)
def test_the_table(
    arguments: dict[str, Any], values: list[float], expected: tuple[int, EarlyStoppingReason] | None
) -> None:
    assert run(values, **arguments) == expected


ordinary = st.lists(st.integers(-8, 8).map(lambda n: n / 4), max_size=25)


@given(ordinary, st.integers(1, 5), st.sampled_from(["min", "max"]))
def test_without_min_delta_it_stops_so_long_after_the_first_best_value(
    values: list[float], patience: int, mode: str
) -> None:
    """An oracle that sees the whole sequence at once and keeps no count."""
    best_of = min if mode == "min" else max
    late = [
        index
        for index in range(len(values))
        if index - values.index(best_of(values[: index + 1])) >= patience
    ]

    expected = (late[0], PATIENCE) if late else None
    assert run(values, patience=patience, mode=mode) == expected


@given(ordinary, st.integers(1, 5), st.integers(0, 4).map(lambda n: n / 4))
def test_min_delta_counts_from_the_last_accepted_value(
    values: list[float], patience: int, min_delta: float
) -> None:
    """An oracle that cuts the sequence at its improvements and measures the pieces."""
    rest, offset, expected = list(values), 0, None
    while rest:
        better = [i for i, value in enumerate(rest) if i and rest[0] - value > min_delta]
        piece = better[0] if better else len(rest)
        if piece - 1 >= patience:
            expected = (offset + patience, PATIENCE)
            break
        rest, offset = rest[piece:], offset + piece

    assert run(values, patience=patience, min_delta=min_delta) == expected


@given(ordinary, st.integers(1, 5), st.integers(0, 4).map(lambda n: n / 4))
def test_max_is_min_of_the_negated_values(
    values: list[float], patience: int, min_delta: float
) -> None:
    down = run(values, patience=patience, min_delta=min_delta, mode="min")
    up = run([-v for v in values], patience=patience, min_delta=min_delta, mode="max")

    assert down == up


@given(st.lists(st.floats(), max_size=20), st.booleans())
def test_it_stops_at_the_first_value_that_is_not_finite_if_asked_to(
    values: list[float], check: bool
) -> None:
    bad = [i for i, value in enumerate(values) if not math.isfinite(value)]

    stopped = run(values, patience=10**6, check_finite=check)

    assert stopped == ((bad[0], NON_FINITE) if bad and check else None)


def test_the_sentences_name_the_value_and_the_rule() -> None:
    rule = StoppingRule(
        monitor="loss", patience=2, stopping_threshold=0.1, divergence_threshold=9.0
    )

    assert rule.judge(0.5).sentence == "loss=0.5 is the best so far"
    assert rule.judge(0.375).sentence == "loss=0.375 is the best so far, by 0.125"
    assert rule.judge(0.375).sentence is None
    assert rule.judge(0.375).sentence == "loss has not improved in 2 checks; its best was 0.375"
    assert rule.judge(0.05).sentence == "loss=0.05 is below stopping_threshold=0.1"
    assert rule.judge(12.0).sentence == "loss=12 is above divergence_threshold=9"
    assert rule.judge(NAN).sentence == "loss=nan is not finite; its best was 0.375"


def test_the_sentences_of_mode_max() -> None:
    rule = StoppingRule(
        monitor="acc", mode="max", patience=1, stopping_threshold=0.9, divergence_threshold=0.1
    )

    assert rule.judge(NAN).sentence == "acc=nan is not finite"
    assert rule.judge(0.95).sentence == "acc=0.95 is above stopping_threshold=0.9"
    assert rule.judge(0.05).sentence == "acc=0.05 is below divergence_threshold=0.1"
    assert rule.judge(0.5).sentence == "acc=0.5 is the best so far"
    assert rule.judge(0.5).sentence == "acc has not improved in 1 check; its best was 0.5"


def test_restarting_forgets() -> None:
    rule = StoppingRule(monitor="loss", patience=2)
    rule.judge(1.0)
    rule.judge(2.0)

    rule.restart()

    assert (rule.best_score, rule.wait_count) == (INF, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mode": "auto"}, ValueError, r"mode must be 'min' or 'max'\. Received mode='auto'\."),
        ({"mode": "maxx"}, ValueError, r"Did you mean 'max'\?"),
        ({"patience": -1}, ValueError, r"patience must be at least 0\. Received patience=-1\."),
        ({"patience": 2.5}, TypeError, r"patience must be an int, a number of checks\..* 2\.5"),
        ({"patience": True}, TypeError, r"patience must be an int"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        StoppingRule(monitor="loss", **arguments)
