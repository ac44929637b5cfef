"""Go on from a checkpoint with something else than before: refused, or accepted.

Given is the ``root``.
"""

import json
from pathlib import Path
from typing import Any

import experiment

import lt
from lt_data import TorchFeed
from lt_loop import NothingLeftError

given: dict[str, Any] = globals()["given"]
root = Path(given["root"])
OTHERS: dict[str, Any] = {
    "batch size": {"batch_size": 2},
    "dataset length": {"samples": 32},
    "accumulation": {"trainer": {"accumulate_grad_batches": 2}},
    "seed": {"trainer": {"feed": TorchFeed(seed=8)}},
    "world size": {"trainer": {"devices": 2, "strategy": "ddp"}},
}
SAME = {"feed": TorchFeed(seed=7)}


def fit(name: str, path: Any, **words: Any) -> Any:
    lt.seed_everything(7)
    words["trainer"] = SAME | words.get("trainer", {})
    words["root"] = str(root / name)
    run = experiment.trainer(words)
    result = run.fit(experiment.Regression(), *experiment.loaders(words), ckpt_path=path)
    return result.progress.epoch


told: dict[str, Any] = {}
fit("first", None, trainer={"max_steps": 2})
path = root / "first" / "checkpoints" / "step=2.ckpt"
for name, words in OTHERS.items():
    try:
        fit(name, path, **words)
    except ValueError as error:
        told[name] = str(error)
    words["trainer"] = {**words.get("trainer", {}), "on_mismatch": "accept"}
    told[f"{name} accepted"] = fit(name, path, **words)
try:
    fit("nothing left", path, trainer={"max_steps": 2})
except NothingLeftError as error:
    told["nothing left"] = str(error)
Path("told.json").write_text(json.dumps(told))
