"""Whom a group's silence is blamed on, from what is seen of its ranks."""

import pytest

from lt_accel.hanging import Silent, hung, to_blame

FRAME = '  File "{}", line 7 in {}\n'
RUNS = FRAME.format("/lib/lt_accel/ranks.py", "run_rank")
WATCHES = (
    'Thread 0x1 (most recent call first):\n  File "/lib/lt_accel/watchdog.py", line 1 in f\n\n'
)


def stack(path: str, name: str) -> str:
    return (
        WATCHES
        + "Current thread 0x2 (most recent call first):\n"
        + FRAME.format(path, name)
        + FRAME.format("/home/me/train.py", "training_step")
        + RUNS
    )


SLEEPS = stack("/home/me/train.py", "reads_a_disk")
GATHERS = stack("/site-packages/torch/distributed/distributed_c10d.py", "all_gather")
SYNCS = stack("/site-packages/torch/nn/parallel/distributed.py", "_sync_buffers")


def silent(rank: int, age: float, stack: str, *, inside: bool = False) -> Silent:
    return Silent(rank=rank, age=age, inside=inside, stack=stack)


@pytest.mark.parametrize("waits", [GATHERS, SYNCS])
def test_the_one_that_does_not_wait_is_blamed_however_old_the_other(waits: str) -> None:
    ranks = [silent(0, 3.2, waits), silent(1, 3.1, SLEEPS)]
    error = hung(ranks, 2, 3.0)
    assert str(error) == (
        "Rank 1 of 2 showed no sign of life for 3 s (hang_timeout) and was ended."
    )
    assert error.rank == 1
    first, second = error.__notes__
    assert first.startswith("Its Python stack was, the latest call first:\n")
    assert "reads_a_disk" in first
    assert "watchdog" not in first
    assert "run_rank" not in first
    assert second.startswith("Rank 0's Python stack was, the latest call first: It waits")


def test_what_a_rank_says_itself_counts() -> None:
    ranks = [silent(0, 3.2, SLEEPS, inside=True), silent(1, 3.1, SLEEPS)]
    assert [one.rank for one in to_blame(ranks, 3.0)] == [1]


def test_several_are_named_the_longest_silent_first() -> None:
    ranks = [silent(0, 3.1, SLEEPS), silent(1, 9.0, SLEEPS), silent(2, 3.0, GATHERS)]
    error = hung(ranks, 8, 3.0)
    assert str(error).startswith("Ranks 1 and 0 of 8 showed no sign of life for 3 s")
    assert error.rank == 1
    assert [note[:6] for note in error.__notes__] == ["Rank 1", "Rank 0", "Rank 2"]


def test_nobody_is_blamed_where_all_wait() -> None:
    ranks = [silent(0, 3.1, GATHERS), silent(1, 13.0, SLEEPS, inside=True)]
    error = hung(ranks, 4, 3.0)
    assert str(error).startswith("Ranks 1 and 0 of 4 waited for others for more than 3 s")


def test_one_that_still_shows_signs_of_life_is_not_blamed() -> None:
    ranks = [silent(0, 13.0, GATHERS, inside=True), silent(1, 0.1, SLEEPS)]
    assert to_blame(ranks, 3.0) == []
    assert str(hung(ranks, 2, 3.0)).startswith("Rank 0 of 2 waited for others")
