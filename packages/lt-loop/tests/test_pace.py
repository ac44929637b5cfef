"""Ranks that have as many forwards as each other, whatever batches they have."""

from collections.abc import Callable
from typing import Any

import pytest

from lt_loop.conformance.ranks import in_ranks
from lt_loop.pace import Pace
from lt_loop.ports import World


def forwards(counts: list[int]) -> list[tuple[list[str], list[str], bool]]:
    """What each rank runs, first of its own and then for the others, and whether anybody began."""

    def run(world: World) -> tuple[list[str], list[str], bool]:
        pace, own, batch = Pace(world), [], "none"
        for number in range(counts[world.rank]):
            batch = f"{world.rank}.{number}"
            pace.announce(batch)
            own.append(batch)
        place: Callable[[Any], Any] = "placed {}".format
        return own, list(pace.again(batch, place)), pace.begun

    return in_ranks(len(counts), run)


@pytest.mark.parametrize(
    ("counts", "again"),
    [
        ([2, 2], [[], []]),
        ([3, 1], [[], ["1.0", "1.0"]]),
        ([1, 3, 2], [["0.0", "0.0"], [], ["2.1"]]),
        ([0, 1], [["placed 1.0"], []]),
        ([2, 0, 1, 0], [[], ["placed 0.0"] * 2, ["2.0"], ["placed 0.0"] * 2]),
    ],
)
def test_all_run_as_often_as_the_one_with_the_most(
    counts: list[int], again: list[list[str]]
) -> None:
    found = forwards(counts)

    assert [len(own) for own, _, _ in found] == counts
    assert [more for _, more, _ in found] == again
    assert all(begun for _, _, begun in found)
    assert len({len(own) + len(more) for own, more, _ in found}) == 1


def test_nobody_runs_where_nobody_has_a_batch() -> None:
    assert forwards([0, 0]) == [([], [], False)] * 2
