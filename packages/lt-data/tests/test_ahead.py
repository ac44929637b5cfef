from collections.abc import Iterator

import pytest

from lt_data.ahead import Ahead


def failing() -> Iterator[int]:
    yield 0
    raise OSError("no more")


def test_nothing_is_read_before_it_is_asked() -> None:
    items = iter(range(3))
    ahead = Ahead(items)
    assert next(ahead) == 0
    assert not ahead.ended()
    assert not ahead.ended()
    assert list(items) == [2], "one, once"
    assert list(ahead) == [1]
    assert ahead.ended()
    assert list(ahead) == []


def test_a_failure_comes_in_its_turn() -> None:
    ahead = Ahead(failing())
    assert next(ahead) == 0
    assert not ahead.ended()
    with pytest.raises(OSError, match="no more"):
        next(ahead)
    assert list(ahead) == []
    assert ahead.ended()


def test_an_empty_one_has_ended() -> None:
    assert Ahead(iter(())).ended()
