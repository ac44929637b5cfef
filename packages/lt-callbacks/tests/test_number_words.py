"""Counts in few characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.number_words import UNITS, short_count


@given(st.integers(0, 10**15))
def test_it_is_right_to_within_rounding(count: int) -> None:
    digits, _, unit = short_count(count).partition(" ")
    scale = 1000 ** UNITS.index(f" {unit}" if unit else "")

    assert float(digits.replace(",", "")) * scale == pytest.approx(count, rel=0.05, abs=0)
    assert len(digits) <= 5
