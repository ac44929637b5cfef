"""A checkpoint that somebody else made, to do harm: it is refused, and nothing of it is run."""

import base64
import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import FolderStore, save
from lt_checkpoint.draft import STATE
from lt_checkpoint.manifest import NAME

pytestmark = pytest.mark.slow

WAYS = ("load", "verify", "last", "weights", "module", "fit", "test")


def spelled(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def forged(path: Path, **files: bytes) -> None:
    """Put files into a checkpoint, and a manifest in which all hashes are right."""
    manifest = json.loads((path / NAME).read_bytes())["manifest"]
    for name, content in files.items():
        target = path / name
        if content is not None and not target.is_symlink():
            target.write_bytes(content)
        whole = target.read_bytes() if target.stat().st_size < 1 << 30 else b""
        manifest["files"][name] = {
            "size": target.stat().st_size,
            "sha256": hashlib.sha256(whole).hexdigest(),
        }
    body = {"manifest": manifest, "sha256": hashlib.sha256(spelled(manifest)).hexdigest()}
    (path / NAME).write_bytes(spelled(body))


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def pickled(path: Path, trap: Path) -> None:
    """Pickles in place of the files."""
    evil = pickle.dumps(Evil(trap))
    forged(path, **{"model.safetensors": evil, STATE: evil})


def pickled_within(path: Path, trap: Path) -> None:
    """A pickle in bytes, and tags that would call something if tags could."""
    evil = base64.b64encode(pickle.dumps(Evil(trap))).decode()
    body = json.loads((path / STATE).read_bytes())
    body["hyper_parameters"] = {
        "blob": {"$": "bytes", "base64": evil},
        "act": {"$": "python/object/apply", "is": "os.mkdir", "items": [str(trap)]},
    }
    forged(path, **{STATE: spelled(body)})


def callable_by_name(path: Path, trap: Path) -> None:
    """Hyper-parameters that name a class to be imported, as Lightning's may."""
    body = json.loads((path / STATE).read_bytes())
    body["hyper_parameters"] = {"_instantiator": "os.mkdir", "_class_path": str(trap)}
    body["state_dict"] = {"$": "tensor", "in": "../../etc", "name": "passwd"}
    forged(path, **{STATE: spelled(body)})


def traversal(path: Path, trap: Path) -> None:
    """A file outside of the checkpoint."""
    (path.parent / "secret.json").write_text("{}")
    forged(path, **{"../secret.json": b"{}"})


def terabytes(path: Path, trap: Path) -> None:
    """A header that speaks of terabytes."""
    header = {"layer.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    forged(path, **{"model.safetensors": len(text).to_bytes(8, "little") + text})


def endless_header(path: Path, trap: Path) -> None:
    """A header of nearly 2**63 bytes."""
    forged(path, **{"model.safetensors": b"\xff" * 7 + b"\x7f" + b"{}"})


def holes(path: Path, trap: Path) -> None:
    """A file of terabytes that takes no room on the disk."""
    header = {"layer.weight": {"dtype": "U8", "shape": [1 << 42], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + (1 << 42))
    manifest = json.loads((path / NAME).read_bytes())["manifest"]
    size = (path / "model.safetensors").stat().st_size
    manifest["files"]["model.safetensors"]["size"] = size
    body = {"manifest": manifest, "sha256": hashlib.sha256(spelled(manifest)).hexdigest()}
    (path / NAME).write_bytes(spelled(body))


def deep(path: Path, trap: Path) -> None:
    """JSON that is nested so deep that reading it would end the process."""
    forged(path, **{STATE: b"[" * 1_000_000})


def sharded_terabytes(path: Path, trap: Path) -> None:
    """A tensor in parts that has terabytes and no parts."""
    body = json.loads((path / STATE).read_bytes())
    whole = {"$": "sharded", "name": "x", "shape": [1 << 40], "dtype": "float32"}
    body["state_dict"] = {"layer.weight": whole}
    forged(path, **{STATE: spelled(body)})


ATTACKS = [
    *(pickled, pickled_within, callable_by_name, traversal, terabytes, endless_header),
    *(holes, deep, sharded_terabytes),
]

RIGHT_HASHES = (pickled_within, callable_by_name, sharded_terabytes, deep)
"""Those whose files are as their manifest says."""


def harmless(folder: Path) -> Path:
    state = {
        "format": 1,
        "epoch": 1,
        "global_step": 1,
        "state_dict": {"layer.weight": torch.ones(1, 1), "layer.bias": torch.ones(1)},
        "optimizer_states": [],
        "hyper_parameters": {},
    }
    save(state, folder / "a.ckpt")
    return folder / "a.ckpt"


def ended(child: Callable[..., Any], path: str, way: str, tmp_path: Path, **words: Any) -> str:
    note = tmp_path / f"note-{way}"
    assert child("load", path=path, way=way, note=str(note), **words).wait() == 0
    return note.read_text()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_by_path(attack: Any, tmp_path: Path, child: Callable[..., Any]) -> None:
    path, trap = harmless(tmp_path), tmp_path / "trap"
    assert ended(child, str(path), "module", tmp_path) == "loaded", "it is no accident"
    attack(path, trap)
    for way in WAYS:
        if way == "verify" and attack in RIGHT_HASHES:
            continue  # its hashes are right: verify promises no more
        said = ended(child, str(path), way, tmp_path)
        assert said.startswith(("DamagedCheckpointError", "CheckpointNotFoundError")), (way, said)
        assert "damaged" in said
    assert not trap.exists()


@pytest.mark.parametrize(
    "attack", [pickled, callable_by_name, traversal, terabytes, deep], ids=lambda one: one.__name__
)
def test_by_url(attack: Any, tmp_path: Path, child: Callable[..., Any]) -> None:
    path, trap = harmless(tmp_path), tmp_path / "trap"
    attack(path, trap)
    for way in ("load", "module", "test"):
        url = "memory://bucket/a.ckpt"
        said = ended(child, url, way, tmp_path, copy=str(path))
        assert said.startswith("DamagedCheckpointError"), (way, said)
    assert not trap.exists()


def test_a_pickle_that_says_it_is_lightning_s(tmp_path: Path, child: Callable[..., Any]) -> None:
    trap = tmp_path / "trap"
    state = {"state_dict": {"layer.weight": torch.ones(1, 1)}, "hyper_parameters": Evil(trap)}
    torch.save(state, tmp_path / "a.ckpt")
    for way in ("load", "module", "fit", "test"):
        said = ended(child, str(tmp_path / "a.ckpt"), way, tmp_path)
        assert said.startswith("ValueError: A Lightning checkpoint holds tensors and data"), said
    assert not trap.exists()


def test_names_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    save({"secret": 1}, tmp_path / "secret.ckpt")
    os.symlink(tmp_path / "secret.ckpt", tmp_path / "run" / "link.ckpt")
    store = FolderStore(tmp_path / "run")
    store.remove("link.ckpt")  # the link, not what it leads to
    assert (tmp_path / "secret.ckpt" / NAME).exists()
