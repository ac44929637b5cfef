"""Checkpoints in an object store: what is asked of any store."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lt_checkpoint import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    FolderStore,
    SaveError,
    load,
    save,
    verify,
)

STATE = {
    "global_step": 3,
    "epoch": 1,
    "state_dict": {"weight": torch.arange(12.0).reshape(3, 4), "half": torch.ones(2).half()},
    "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}],
}
FILES = ["manifest.json", "model.safetensors", "state.json", "state.safetensors"]


def names(s3: Any, url: str) -> list[str]:
    return sorted(one.rpartition("/")[2] for one in s3.ls(url, detail=False))


def same(found: Any, given: Any) -> bool:
    if isinstance(given, torch.Tensor):
        return found.dtype == given.dtype and torch.equal(found, given)
    if isinstance(given, dict):
        return list(found) == list(given) and all(same(found[key], given[key]) for key in given)
    if isinstance(given, list):
        return all(map(same, found, given))
    return bool(found == given)


def test_a_state_comes_back(bucket: str, s3: Any) -> None:
    save(STATE, f"{bucket}/deep/er/a.ckpt", metrics={"loss": 1.0})
    assert names(s3, f"{bucket}/deep/er/a.ckpt") == FILES
    assert same(load(f"{bucket}/deep/er/a.ckpt"), STATE)
    assert dict(verify(f"{bucket}/deep/er/a.ckpt").metrics) == {"loss": 1.0}


def test_in_many_parts(bucket: str, options: dict[str, Any], s3: Any) -> None:
    """An upload in parts of 5 MiB, the least there is, and reads in pieces."""
    store = FolderStore(bucket, storage_options={**options, "default_block_size": 5 << 20})
    weights = {name: torch.arange(1_500_000, dtype=torch.int32) for name in ("a", "b", "c")}
    store.save({"global_step": 1, "state_dict": weights}, "a.ckpt")
    assert s3.info(f"{bucket}/a.ckpt/model.safetensors")["ETag"].strip('"').endswith("-3")
    assert same(store.load("a.ckpt")["state_dict"], weights)
    assert load(f"{bucket}/a.ckpt")["global_step"] == 1, "found by the environment too"


def test_a_folder_of_them(bucket: str, s3: Any) -> None:
    from lt_checkpoint.folder import Note

    store = FolderStore(f"{bucket}/run")
    assert store.list() == []
    assert not store.has_any()
    store.claim()
    for step, loss in ((2, 0.5), (10, 0.1), (1, 0.9)):
        note = Note(metrics={"loss": loss}, monitor="loss")
        store.save({"global_step": step}, f"{step}.ckpt", note=note)
    assert store.list() == ["1.ckpt", "2.ckpt", "10.ckpt"]
    assert store.load("last")["global_step"] == 10
    assert store.load("best")["global_step"] == 10
    assert store.load(f"{bucket}/run/2.ckpt")["global_step"] == 2
    assert load(f"{bucket}/run/last.ckpt")["global_step"] == 10
    assert store.verify("last").step == 10
    store.remove("10.ckpt")
    assert store.load("last")["global_step"] == 2
    assert store.find("best") == f"{bucket}/run/2.ckpt"
    assert names(s3, f"{bucket}/run") == ["1.ckpt", "2.ckpt"], "nothing else is left"
    with pytest.raises(CheckpointNotFoundError, match=r"1.ckpt, 2.ckpt"):
        store.load("10.ckpt")
    with pytest.raises(SaveError, match="is not replaced"):
        store.save({"global_step": 2}, "2.ckpt")


def test_what_others_do_meanwhile_is_seen(bucket: str, script: Callable[..., Any]) -> None:
    """Clients of object stores keep listings, and what they once knew of a file."""
    store = FolderStore(bucket)
    store.save({"global_step": 1}, "1.ckpt")
    store.save({"global_step": 2}, "2.ckpt")
    assert store.list() == ["1.ckpt", "2.ckpt"]
    other = script("other", root=bucket, save={"3.ckpt": 3}, remove=["2.ckpt"])
    assert other.wait() == 0, other.told
    assert store.list() == ["1.ckpt", "3.ckpt"]
    assert store.load("last")["global_step"] == 3
    assert not store.exists("2.ckpt")
    # Another one of a name that was known before, and longer: its size is that of now.
    other = script("other", root=bucket, save={"1.ckpt": 10**9}, remove=["1.ckpt"])
    assert other.wait() == 0, other.told
    assert store.load("1.ckpt")["global_step"] == 10**9
    assert store.list() == ["3.ckpt", "1.ckpt"]


def test_two_runs_in_one_folder(bucket: str) -> None:
    """There is no lock. Under different names both save; a name that is taken is refused."""
    one, other = FolderStore(f"{bucket}/run"), FolderStore(f"{bucket}/run")
    one.claim()
    other.claim()
    one.save({"global_step": 1}, "one.ckpt")
    other.save({"global_step": 2}, "other.ckpt")
    with pytest.raises(SaveError, match="which exists"):
        other.save({"global_step": 2}, "one.ckpt")
    assert one.list() == other.list() == ["one.ckpt", "other.ckpt"]
    assert one.load("one.ckpt")["global_step"] == 1


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "harm", [flip, lambda data: data[:-1], lambda data: b""], ids=["a bit", "truncated", "emptied"]
)
def test_damage_is_noticed(harm: Callable[[bytes], bytes], file: str, bucket: str, s3: Any) -> None:
    store = FolderStore(bucket)
    for step in (1, 2):
        store.save({**STATE, "global_step": step}, f"{step}.ckpt")
    place = f"{bucket}/2.ckpt/{file}"
    s3.pipe_file(place, harm(s3.cat_file(place)))
    with pytest.raises(DamagedCheckpointError, match=f"{bucket}/2.ckpt"):
        store.verify("2.ckpt")
    with pytest.raises(DamagedCheckpointError, match=f"{bucket}/2.ckpt"):
        store.load("2.ckpt")
    with pytest.warns(UserWarning, match=r"2.ckpt is damaged"):
        assert store.load("last")["global_step"] == 1


def test_a_manifest_that_asks_for_terabytes(
    bucket: str, s3: Any, script: Callable[..., Any]
) -> None:
    """Refused by the sizes of what is there, in a process with little memory."""

    def spelled(value: Any) -> bytes:
        return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"

    save(STATE, f"{bucket}/a.ckpt")
    place = f"{bucket}/a.ckpt/manifest.json"
    body = json.loads(s3.cat_file(place))["manifest"]
    body["files"]["model.safetensors"]["size"] = 1 << 42
    digest = hashlib.sha256(spelled(body)).hexdigest()
    s3.pipe_file(place, spelled({"manifest": body, "sha256": digest}))
    one = script("other", root=bucket, memory=1 << 30, refused=["a.ckpt"])
    assert one.wait() == 0, one.told
    assert one.told.count("not 4398046511104 bytes") == 2, "by verify and by load"
