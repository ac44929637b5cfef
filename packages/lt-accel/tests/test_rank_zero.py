"""What one rank does for all of them."""

from typing import Any

import pytest

from lt_accel import rank_zero_only, select

pytestmark = pytest.mark.timeout(60)


def rank_told(number: int) -> str:
    """Say which."""
    return f"told {number}"


def test_a_process_alone_is_rank_0() -> None:
    told = rank_zero_only(rank_told)

    assert told(1) == told(number=1) == "told 1"
    assert (told.__name__, told.__doc__) == ("rank_told", "Say which.")


@pytest.mark.parametrize(
    ("rank", "words", "expected"),
    [("0", {}, "told 1"), ("1", {}, None), ("1", {"default": "nothing"}, "nothing")],
)
def test_a_launcher_says_which_rank_this_is(
    rank: str, words: dict[str, Any], expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = rank_zero_only(rank_told, **words)  # before the launcher is known, as at import
    variables = {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert told(1) == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1", "WORLD_SIZE": "2"},
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},  # and no MASTER_ADDR
        {"OMPI_COMM_WORLD_RANK": "1"},
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
        {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1"},
    ],
)
def test_the_rank_is_all_that_a_launcher_has_to_say(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert rank_zero_only(rank_told)(1) is None


def test_in_processes_of_ours_the_group_says_it() -> None:
    told = rank_zero_only(rank_told)
    world = select(accelerator="cpu", devices=2).world

    assert world.launch(lambda: world.gather(told(1))) == ["told 1", None]
