"""The search for a batch size, against the largest size that a limit lets through."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.batch_size_search import BatchSizeSearch, Trial

OUT = MemoryError("too large")


def search(limit: int, samples: int | None = None, **words: Any) -> tuple[int, list[int]]:
    """Search where sizes up to a limit fit; return what was found and what was tried."""
    tried: list[int] = []

    def attempt(size: int) -> Trial:
        tried.append(size)
        return Trial(OUT if size > limit else None, samples)

    return BatchSizeSearch(**words).run(attempt), tried


@given(st.integers(1, 5000), st.integers(1, 64))
def test_power_finds_the_last_doubling_that_fits(limit: int, first: int) -> None:
    found, tried = search(limit, init_val=first)

    if first <= limit:
        doublings = [first * 2**n for n in range(14)]
        assert found == max(size for size in doublings if size <= limit)
    else:
        assert found <= limit < 2 * found + 1  # halved until it fitted
    assert max(size for size in tried if size <= limit) == found
    assert len(set(tried)) == len(tried)


@given(st.integers(1, 5000), st.integers(1, 64))
def test_binsearch_finds_the_limit(limit: int, first: int) -> None:
    found, tried = search(limit, mode="binsearch", init_val=first, margin=0.0, max_trials=40)

    assert found == limit
    assert len(set(tried)) == len(tried)


@pytest.mark.parametrize(
    ("words", "limit", "samples", "found"),
    [
        ({"mode": "binsearch", "margin": 0.1}, 100, None, 90),
        ({"mode": "binsearch", "margin": 0.1}, 1000, 64, 64),  # memory was not the limit
        ({"mode": "binsearch", "margin": 0.9}, 1, None, 1),
        ({"margin": 0.1}, 100, None, 64),  # only in binsearch
        ({}, 10**9, None, 8192),
        ({"max_val": 100}, 10**9, None, 100),
        ({"max_val": None}, 10**6, None, 2**19),
        ({"max_val": 8, "init_val": 16}, 10**9, None, 8),
        ({}, 10**9, 50, 64),
        ({"max_trials": 3}, 10**9, None, 8),  # 2, 4, 8
        ({"mode": "binsearch", "margin": 0.0, "max_trials": 5}, 12, None, 12),  # 2 4 8 16 12
    ],
)
def test_the_limits_of_a_search(words: Any, limit: int, samples: Any, found: int) -> None:
    assert search(limit, samples, **words)[0] == found


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_where_nothing_fits_the_error_is_raised(mode: Any) -> None:
    with pytest.raises(MemoryError, match="too large"):
        search(0, mode=mode, init_val=8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"mode": "binary"}, "mode is 'power' or 'binsearch'"),
        ({"init_val": 0}, "init_val is an int of at least 1"),
        ({"max_trials": 2.0}, "max_trials is an int of at least 1"),
        ({"max_val": 0}, "max_val is an int of at least 1"),
        ({"margin": 1.0}, "margin is a share of at least 0 and below 1"),
    ],
)
def test_bad_arguments_are_refused(words: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchSizeSearch(**words)
