"""Ranks that have as many forwards as each other, whatever batches they have."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from lt_loop.conformance.ranks import in_ranks
from lt_loop.logbook import Logbook, Page
from lt_loop.pace import Pace, run_again
from lt_loop.ports import World
from lt_loop.solo import DuckBackend, OneProcess


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


def test_what_is_run_again_is_put_back_once_and_told_that_it_does_not_count() -> None:
    """Putting back needs a copy of whatever a step may change: one, however many batches."""
    seen: list[str] = []

    class Undoing(DuckBackend):
        @contextmanager
        def undone(self, parts: Any) -> Iterator[None]:
            seen.append("copied")
            yield
            seen.append("put back")

    backend: Any = Undoing()
    logbook, page = Logbook(backend, OneProcess(), ()), Page()
    logbook.page = page
    run: Any = SimpleNamespace(
        ports=SimpleNamespace(backend=backend), logbook=logbook, program=None, repeats=False
    )

    def step(batch: str) -> None:
        seen.append(f"{batch} {run.repeats}")
        logbook.log("loss", 1.0, None, (False, None, None, None, "mean", False, True))

    run_again(run, page, step, iter("ab"))
    run_again(run, page, step, iter(""))

    assert seen == ["copied", "a True", "b True", "put back"]
    assert logbook.page is page
    assert (page.entries, run.repeats) == ({}, False)


def test_nobody_runs_where_nobody_has_a_batch() -> None:
    assert forwards([0, 0]) == [([], [], False)] * 2
