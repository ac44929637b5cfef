"""Going on with something else than before is refused with a list, or accepted when asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

NAMED = {
    "batch size": ["data.batch_size=2 and a state of data.batch_size=4"],
    "dataset length": ["=32 and a state of", "=28"],
    "accumulation": ["accumulate_grad_batches=2 and a state of accumulate_grad_batches=3"],
    "seed": ["data.seed=8 and a state of data.seed=7"],
    "world size": ["world_size=2 and a state of world_size=1"],
}


def test_it_is_refused_or_accepted(tmp_path: Path, script: Callable[..., Any]) -> None:
    one = script("mismatch", root=str(tmp_path))
    assert one.wait(150) == 0, one.told()
    told = json.loads((one.folder / "told.json").read_text())
    for name, parts in NAMED.items():
        assert all(part in told[name] for part in parts), told[name]
        assert "or accept it: Trainer(on_mismatch='accept')" in told[name]
        assert told[f"{name} accepted"] == 4
    assert told["nothing left"] == (
        "A resumed run must have something left to do. Received max_steps=2 and a state of epoch "
        "0, step 2. Raise the limit."
    )
