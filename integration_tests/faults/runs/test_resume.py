"""A run that is broken off twice ends with the bits, and the log, of one that never was."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLED = "SIGKILL"

CASES: dict[str, dict[str, Any]] = {
    "no workers": {},
    "all of it": {
        "workers": [0, 2, 1],
        "ema": True,
        "trainer": {"precision": "bf16-mixed", "val_check_interval": 3},
    },
    "workers": {"workers": [2, 2, 2]},
    "other numbers of workers": {"workers": [0, 2, 1]},
    "bf16, and an average of the weights": {
        "ema": True,
        "trainer": {"precision": "bf16-mixed"},
    },
    "validation within epochs": {"trainer": {"val_check_interval": 3}},
}


@pytest.mark.parametrize(
    "case",
    [
        *("no workers", "all of it"),
        *(pytest.param(name, marks=pytest.mark.whole) for name in list(CASES)[2:]),
    ],
)
def test_killed_twice(
    case: str,
    tmp_path: Path,
    script: Callable[..., Any],
    rows: Callable[[Path], Any],
    assert_same: Callable[[Any, Any], None],
) -> None:
    """In the midst of the first epoch, and at the end of the second, before it is saved."""
    words = {**CASES[case]}
    workers = words.pop("workers", [0, 0, 0])
    whole = script("fit", root=str(tmp_path / "whole"), workers=workers[0], **words)
    harms = ({"on_train_batch_end 2": KILLED}, {"on_train_epoch_end 6": KILLED}, {})
    for seed, count, harm in zip((7, 100, 101), workers, harms, strict=True):
        words |= {"seed": seed, "workers": count, "harm": harm}  # what is seeded anew is put back
        part = script("fit", root=str(tmp_path / "part"), **words)
        assert part.wait() == (-signal.SIGKILL if harm else 0), part.told()
    assert whole.wait() == 0, whole.told()
    assert part.notes[1] == "start 5"
    assert_same(part, whole)
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")


def test_stopped_by_max_steps(
    tmp_path: Path,
    script: Callable[..., Any],
    rows: Callable[[Path], Any],
    assert_same: Callable[[Any, Any], None],
) -> None:
    """Within an epoch, and at the end of one: what was done after the stop is taken back."""
    whole = script("fit", root=str(tmp_path / "whole"))
    for steps in (4, 6, -1):
        words = {"trainer": {"max_steps": steps}}
        part = script("fit", root=str(tmp_path / "part"), **words)
        assert part.wait() == 0, part.told()
    assert whole.wait() == 0, whole.told()
    assert_same(part, whole)
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["waiting", "asynchronous"])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.whole)])
def test_two_ranks(
    workers: int,
    asynchronous: bool,
    tmp_path: Path,
    script: Callable[..., Any],
    rows: Callable[[Path], Any],
    assert_same: Callable[[Any, Any], None],
    instants: Callable[[int, int], range],
) -> None:
    words: dict[str, Any] = {"trainer": {"devices": 2, "strategy": "ddp"}, "workers": workers}
    words["saving"] = {"asynchronous": asynchronous}
    whole = script("fit", root=str(tmp_path / "whole"), **words)
    assert whole.wait() == 0, whole.told()
    harms = [{"on_train_batch_end 4": KILLED}, {"on_train_epoch_end 6": KILLED}, {}]
    # Each starts two processes more, so the short form kills once.
    for seed, harm in zip((7, 100, 101), harms[len(instants(1, 0)) :], strict=False):
        part = script("fit", root=str(tmp_path / "part"), harm=harm, seed=seed, **words)
        assert part.wait() == (1 if harm else 0), part.told()
        assert not harm or "was killed by SIGKILL" in part.errors
        part.wait_until_alone()
    assert_same(part, whole)
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")


@pytest.mark.parametrize("file", ["rank-1.json", "rank-1.safetensors"])
def test_a_damaged_file_of_one_rank(
    file: str,
    tmp_path: Path,
    script: Callable[..., Any],
    rows: Callable[[Path], Any],
    assert_same: Callable[[Any, Any], None],
) -> None:
    """All ranks pass over what one of them can't read."""
    words: dict[str, Any] = {"trainer": {"devices": 2, "strategy": "ddp"}}
    words["saving"] = {"save_top_k": -1}
    whole = script("fit", root=str(tmp_path / "whole"), **words)
    assert whole.wait() == 0, whole.told()
    harm = {"on_train_batch_end 4": KILLED}
    part = script("fit", root=str(tmp_path / "part"), harm=harm, **words)
    assert part.wait() == 1, part.told()
    part.wait_until_alone()
    saved = sorted(path.name for path in (tmp_path / "part" / "checkpoints").glob("*.ckpt"))
    assert saved == ["step=1.ckpt", "step=2.ckpt", "step=3.ckpt"]
    damaged = tmp_path / "part" / "checkpoints" / saved[-1] / file
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    again = script("fit", root=str(tmp_path / "part"), seed=100, **words)
    assert again.wait() == 0, again.told()
    starts = [note for note in again.notes if note.startswith("start ")]
    assert starts == ["start 2", "start 2"], again.told()
    assert f"{saved[-1]} is damaged" in again.errors
    assert_same(again, whole)
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")
