"""Random numbers that are a function of their place, and the generators put back."""

import random
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lt_data.seeding import Apart, mixed, put_back, seed_generators, states, word_of

np: Any = pytest.importorskip("numpy")


def drawn() -> tuple[float, float, float, float]:
    return random.random(), np.random.rand(), np.random.randn(), float(torch.rand(()))


def test_mixing_is_splitmix64() -> None:
    # The first outputs of the reference implementation (prng.di.unimi.it/splitmix64.c) for seed 0.
    state, found = 0, []
    for _ in range(3):
        found.append(mixed(state, 0))
        state += 0x9E3779B97F4A7C15
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
def test_a_word_is_of_64_bits_and_depends_on_each_part(parts: list[int]) -> None:
    assert 0 <= word_of(*parts) < 2**64
    for place in range(len(parts)):
        other = [part ^ (place == index) for index, part in enumerate(parts)]
        assert word_of(*other) != word_of(*parts)


@given(st.integers(0, 2**64 - 1))
def test_seeding_decides_what_is_drawn(word: int) -> None:
    seed_generators(word)
    first = drawn()
    seed_generators(word)
    assert drawn() == first
    seed_generators(word ^ 1 << 40)
    assert drawn() != first


def test_numpy_and_torch_do_not_draw_the_same_bits() -> None:
    """Both are Mersenne twisters: with one seed for both they would."""
    seed_generators(mixed(1, 2))
    ours = np.random.randint(0, 2**32, 4, dtype=np.uint32).tolist()
    theirs = torch.randint(0, 2**32, (4,)).tolist()
    assert ours != theirs


@given(st.integers(0, 3))
def test_the_generators_are_put_back(before: int) -> None:
    generator = torch.Generator().manual_seed(3)
    for _ in range(before):
        drawn()  # an odd number of normal variates leaves one waiting in numpy
    then = states([generator])
    expected = [drawn(), float(torch.rand((), generator=generator))]
    put_back(then, [generator])
    assert [drawn(), float(torch.rand((), generator=generator))] == expected


def test_generators_apart_go_on_where_they_were() -> None:
    own = torch.Generator().manual_seed(1)
    apart, again = Apart(7, [own]), Apart(7, [own])

    def once() -> list[Any]:
        return [*drawn(), float(torch.rand((), generator=own))]

    with apart:
        whole = [once(), once()]
    outside = states([own])
    with again:
        first = once()
    drawn()
    torch.rand((), generator=own)
    with again:
        second = once()
    put_back(outside, [own])
    assert [first, second] == whole
    assert first != second
    expected = once()
    put_back(outside, [own])
    with again:
        once()
    assert once() == expected, "and nothing outside has noticed"


def test_numpy_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy")
    before = states()
    seed_generators(3)
    expected = random.random()
    put_back(before)
    seed_generators(3)
    assert random.random() == expected
