"""The counts of a run survive being saved."""

import json

import pytest

from lt_loop import Progress


def test_a_run_begins_with_nothing_done() -> None:
    assert Progress() == Progress(epoch=0, batch=0, batches=0, steps=0, skipped_steps=0)


def test_the_counts_stand_in_a_state_under_their_names() -> None:
    state = Progress(1, 2, 3, 4, 5).state_dict()

    assert state == {"epoch": 1, "batch": 2, "batches": 3, "steps": 4, "skipped_steps": 5}


def test_a_state_is_a_snapshot() -> None:
    progress = Progress()
    state = progress.state_dict()
    progress.steps += 1

    assert state["steps"] == 0


def test_counts_are_put_back_in_place() -> None:
    """Everybody who reads the progress holds the same object."""
    progress = held = Progress(9, 9, 9, 9, 9)

    progress.load_state_dict(json.loads(json.dumps(Progress(1, 2, 3, 4, 5).state_dict())))

    assert held == Progress(1, 2, 3, 4, 5)


def test_counts_come_back_as_ints_whatever_a_store_made_of_them() -> None:
    progress = Progress()
    progress.load_state_dict(dict.fromkeys(Progress().state_dict(), 2.0))

    assert progress == Progress(2, 2, 2, 2, 2)
    assert {type(count) for count in progress.state_dict().values()} == {int}


def test_what_a_later_version_counts_beside_them_is_left_alone() -> None:
    progress = Progress()
    progress.load_state_dict({**Progress(1, 2, 3, 4, 5).state_dict(), "samples": 6})

    assert progress == Progress(1, 2, 3, 4, 5)


def test_a_state_without_a_count_is_refused_and_changes_nothing() -> None:
    progress = Progress(1, 2, 3, 4, 5)
    message = (
        r"^A saved progress holds epoch, batch, batches, steps, skipped_steps\. "
        r"Received \{'epoch': 7, 'batch': 0, 'batches': 9\}, which lacks steps, skipped_steps\.$"
    )
    with pytest.raises(ValueError, match=message):
        progress.load_state_dict({"epoch": 7, "batch": 0, "batches": 9})

    assert progress == Progress(1, 2, 3, 4, 5)
