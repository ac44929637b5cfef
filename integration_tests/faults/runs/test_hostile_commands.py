"""A checkpoint that somebody else made, to do harm, given to the command line."""

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import save
from lt_checkpoint.draft import STATE
from lt_checkpoint.manifest import NAME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def spelled(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def forge(path: Path, **files: bytes) -> None:
    """Put files into a checkpoint, and a manifest in which all hashes are right."""
    manifest = json.loads((path / NAME).read_bytes())["manifest"]
    for name, content in files.items():
        (path / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        manifest["files"][name] = {"size": len(content), "sha256": digest}
    body = {"manifest": manifest, "sha256": hashlib.sha256(spelled(manifest)).hexdigest()}
    (path / NAME).write_bytes(spelled(body))


def pickles(path: Path, trap: Path) -> None:
    evil = pickle.dumps(Evil(trap))
    forge(path, **{"model.safetensors": evil, STATE: evil})


def callables(path: Path, trap: Path) -> None:
    body = json.loads((path / STATE).read_bytes())
    act = {"$": "python/object/apply", "is": "os.mkdir", "items": [str(trap)]}
    body["hyper_parameters"] = {"_instantiator": "os.mkdir", "act": act}
    forge(path, **{STATE: spelled(body)})


def terabytes(path: Path, trap: Path) -> None:
    header = {"layer.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    forge(path, **{"model.safetensors": len(text).to_bytes(8, "little") + text})


def traversal(path: Path, trap: Path) -> None:
    (path.parent / "secret.json").write_text("{}")
    forge(path, **{"../secret.json": b"{}"})


def lightning(path: Path, trap: Path) -> None:
    """A file of Lightning's in its place, with a pickle that acts."""
    path.rename(path.parent / "aside")
    state = {"state_dict": {"layer.weight": torch.ones(1, 1)}, "hyper_parameters": Evil(trap)}
    torch.save(state, path)


ATTACKS = (pickles, callables, terabytes, traversal, lightning)


PARTS = ["--model", "line_in_a_file.Line", "--data", "line_in_a_file.Ones"]
PARTS += ["--trainer.logger", "false", "--trainer.accelerator", "cpu", "--ckpt_path"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint."""
    state = {
        **{"format": 1, "epoch": 1, "global_step": 1, "optimizer_states": []},
        **{"state_dict": {"layer.weight": torch.ones(1, 1), "layer.bias": torch.ones(1)}},
        "hyper_parameters": {},
    }
    save(state, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_without_harm_it_is_taken(path: Path, tmp_path: Path, script: Callable[..., Any]) -> None:
    export = ["ckpt", "export", str(path), str(tmp_path / "x")]
    for words in (["test", *PARTS, str(path)], export):
        one = script("lt_cli", *words, module=True)
        assert one.wait() == 0, one.told()


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(one, marks=[] if one in (pickles, lightning) else [pytest.mark.whole])
        for one in ATTACKS
    ],
    ids=lambda attack: attack.__name__,
)
def test_it_is_refused(attack: Any, path: Path, tmp_path: Path, script: Callable[..., Any]) -> None:
    trap = tmp_path / "trap"
    attack(path, trap)
    commands = [[word, *PARTS, str(path)] for word in ("test", "fit")]
    commands.append(["ckpt", "export", str(path), str(tmp_path / "x")])
    for one in [script("lt_cli", *words, module=True) for words in commands]:
        assert one.wait() not in (0, -9), one.told()
        said = one.output + one.errors
        assert "damaged" in said or "Lightning checkpoint holds" in said, said
        assert "Traceback" not in said, said
    one = script("lt_cli", "ckpt", "show", str(path), module=True)
    one.wait()  # it may show what is not harmful, and runs nothing either
    assert not trap.exists()
    assert not (tmp_path / "x").exists()
