"""Several ranks: threads for what they say to each other."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    FolderStore,
    SaveError,
    UnsavableStateError,
    load,
    verify,
)
from lt_checkpoint import disk as disks
from lt_checkpoint.folder import Note
from lt_checkpoint.saver import Saver


def state_of(rank: int) -> dict[str, Any]:
    return {
        "global_step": 3,
        "state_dict": {"w": torch.ones(3)},
        "backend": {"rng": {"torch": torch.full((4,), rank), "python": (rank, None)}, "scaler": 1},
        "feed": {"position": rank},
        "per_rank": [["backend", "rng"], ["feed", "position"], ["not", "there"]],
    }


def test_each_rank_gets_its_own_back(tmp_path: Path, ranks: Any, alike: Any) -> None:
    def main(world: Any) -> Any:
        store = FolderStore(tmp_path)
        store.save(state_of(world.rank), "a.ckpt", world=world)
        return store.load("a.ckpt", world=world)

    found = ranks(3, main)
    for rank, state in enumerate(found):
        assert alike(state, state_of(rank)), state
    names = set(os.listdir(tmp_path / "a.ckpt"))
    assert {"rank-0.json", "rank-2.safetensors", "state.json", "model.safetensors"} <= names
    assert verify(tmp_path / "a.ckpt").world_size == 3


def test_another_number_of_ranks_can_read_it(tmp_path: Path, ranks: Any) -> None:
    ranks(2, lambda world: FolderStore(tmp_path).save(state_of(world.rank), "a.ckpt", world=world))
    assert load(tmp_path / "a.ckpt")["feed"] == {"position": 0}
    found = ranks(3, lambda world: FolderStore(tmp_path).load("a.ckpt", world=world))
    assert [state["feed"]["position"] for state in found] == [0, 1, 0]


def test_an_unsavable_value_of_one_rank_fails_on_all(tmp_path: Path, ranks: Any) -> None:
    def main(world: Any) -> None:
        state = state_of(world.rank)
        if world.rank == 1:
            state["backend"]["rng"] = print
        FolderStore(tmp_path).save(state, "a.ckpt", world=world)

    first, second = ranks(2, main)
    assert isinstance(second, UnsavableStateError)
    assert isinstance(first, UnsavableStateError)
    assert "Rank 1 failed: UnsavableStateError" in str(first)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_a_disk_that_is_full_on_one_rank_fails_on_all(
    tmp_path: Path, ranks: Any, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    FolderStore(tmp_path).save(state_of(0), "before.ckpt")
    create = disks.LocalDisk.create

    def full(self: Any, path: str) -> Any:
        if os.path.basename(path) == f"rank-{rank}.safetensors":
            raise OSError(28, "No space left on device")
        return create(self, path)

    monkeypatch.setattr(disks.LocalDisk, "create", full)
    found = ranks(2, lambda w: FolderStore(tmp_path).save(state_of(w.rank), "a.ckpt", world=w))
    assert all(isinstance(error, SaveError) for error in found)
    assert "No space left" in str(found[0])
    assert "No space left" in str(found[1])
    assert FolderStore(tmp_path).list() == ["before.ckpt"]
    assert sorted(os.listdir(tmp_path)) == ["before.ckpt"]


def test_rank_0_that_can_not_commit_fails_on_all(
    tmp_path: Path, ranks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, path: str, to: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disks.LocalDisk, "rename", broken)
    found = ranks(2, lambda w: FolderStore(tmp_path).save(state_of(w.rank), "a.ckpt", world=w))
    assert all(isinstance(error, SaveError) for error in found)
    assert FolderStore(tmp_path).list() == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_replaced_is_deleted_once_by_all(
    tmp_path: Path, ranks: Any, asynchronous: bool
) -> None:
    def main(world: Any) -> None:
        saver = Saver(FolderStore(tmp_path), world, asynchronous=asynchronous)
        saver.claim()
        paths = [str(tmp_path / name) for name in ("a.ckpt", "b.ckpt", "c.ckpt")]
        for old, path in zip(["", *paths], paths, strict=False):
            saver.settle()
            assert saver.on_first(lambda path=path: path) == path
            saver.save(state_of(world.rank), path, Note(), obsolete=[old] if old else [])
        saver.settle()
        assert saver.close() is None

    assert ranks(2, main) == [None, None]
    assert os.listdir(tmp_path) == ["c.ckpt"]


def test_what_fails_beside_the_training_is_told_on_all(
    tmp_path: Path, ranks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(world: Any) -> None:
        saver = Saver(FolderStore(tmp_path), world, asynchronous=False)
        saver.save(state_of(world.rank), str(tmp_path / "a.ckpt"), Note(), obsolete=[])
        saver.save(state_of(world.rank), str(tmp_path / "b.ckpt"), Note(), obsolete=["a.ckpt"])
        saver.settle()

    def damaged(self: Any, name: str) -> None:
        raise DamagedCheckpointError(f"{name} is not what was written")

    monkeypatch.setattr(FolderStore, "verify", damaged)
    found = ranks(2, main)
    assert all(isinstance(error, SaveError) for error in found)
    assert all("b.ckpt is not what was written" in str(error) for error in found)
    assert sorted(os.listdir(tmp_path)) == ["a.ckpt", "b.ckpt"], "the old one is still there"


class Heard:
    """A rank that notes the tensors among what it is told and tells."""

    def __init__(self, world: Any) -> None:
        self.world, self.rank, self.world_size = world, world.rank, world.world_size
        self.tensors = 0

    def gather(self, obj: Any) -> Any:
        self.tensors += str(obj).count("tensor(")
        return self.world.gather(obj)

    def beside(self) -> "Heard":
        return Heard(self.world.beside())

    def close(self) -> None:
        self.world.close()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_tensor_travels_from_rank_to_rank(
    tmp_path: Path, ranks: Any, asynchronous: bool
) -> None:
    def main(world: Any) -> int:
        heard = Heard(world)
        saver = Saver(FolderStore(tmp_path), heard, asynchronous=asynchronous)
        saver.save(state_of(world.rank), str(tmp_path / "a.ckpt"), Note(), obsolete=[])
        saver.settle()
        return heard.tensors

    assert ranks(2, main) == [0, 0]
    assert FolderStore(tmp_path).list() == ["a.ckpt"]


def test_a_save_beside_the_training_holds_what_every_rank_had(
    tmp_path: Path, ranks: Any, alike: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is made before both ranks have gone on and changed all they have."""
    gone_on = threading.Event()
    create = disks.LocalDisk.create

    def later(self: Any, path: str) -> Any:
        assert gone_on.wait(30)
        return create(self, path)

    monkeypatch.setattr(disks.LocalDisk, "create", later)

    def main(world: Any) -> Any:
        store = FolderStore(tmp_path)
        saver = Saver(store, world, asynchronous=True)
        state = state_of(world.rank)
        saver.save(state, str(tmp_path / "a.ckpt"), Note(), obsolete=[])
        state["state_dict"]["w"].zero_()
        state["backend"]["rng"]["torch"].zero_()
        state["feed"]["position"] = 9
        world.barrier()
        gone_on.set()
        saver.settle()
        assert saver.close() is None
        return store.load("a.ckpt", world=world)

    for rank, state in enumerate(ranks(2, main)):
        assert alike(state, state_of(rank)), state


@pytest.mark.parametrize("rank", [0, 1])
def test_a_save_beside_the_training_that_fails_on_one_rank_fails_on_all(
    tmp_path: Path, ranks: Any, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = disks.LocalDisk.create

    def full(self: Any, path: str) -> Any:
        if os.path.basename(path) == f"rank-{rank}.safetensors" and "b.ckpt" in path:
            raise OSError(28, "No space left on device")
        return create(self, path)

    monkeypatch.setattr(disks.LocalDisk, "create", full)

    def main(world: Any) -> str:
        saver = Saver(FolderStore(tmp_path), world, asynchronous=True)
        said = ""
        for name, old in (("a", []), ("b", ["a.ckpt"]), ("c", ["a.ckpt"])):
            try:
                saver.settle()
            except SaveError as error:
                said = str(error)
            saver.save(state_of(world.rank), str(tmp_path / f"{name}.ckpt"), Note(), obsolete=old)
        saver.settle()
        assert saver.close() is None
        return said

    said = ranks(2, main)
    assert all("No space left" in one for one in said), said
    assert os.listdir(tmp_path) == ["c.ckpt"], "the first one was kept until the third was whole"


def test_a_world_without_a_channel_for_threads_saves_while_it_waits(
    tmp_path: Path, ranks: Any
) -> None:
    class Plain:
        def __init__(self, world: Any) -> None:
            self.rank, self.world_size, self.gather = world.rank, world.world_size, world.gather

    def main(world: Any) -> list[str]:
        store = FolderStore(tmp_path)
        saver = Saver(store, Plain(world), asynchronous=True)
        saver.save(state_of(world.rank), str(tmp_path / "a.ckpt"), Note(), obsolete=[])
        return store.list()

    assert ranks(2, main) == [["a.ckpt"]] * 2


@pytest.mark.parametrize("file", ["rank-0.json", "rank-1.json", "rank-1.safetensors"])
def test_all_ranks_fall_back_to_the_same_checkpoint(
    tmp_path: Path, ranks: Any, file: str, recwarn: pytest.WarningsRecorder
) -> None:
    """Whoever reads the damaged file: the others must not take what it can't."""

    def save(world: Any) -> None:
        for step in (1, 2, 3):
            state = {**state_of(world.rank), "global_step": step}
            FolderStore(tmp_path).save(state, f"{step}.ckpt", world=world)

    def load_by(name: str) -> Any:
        return ranks(2, lambda world: FolderStore(tmp_path).load(name, world=world))

    ranks(2, save)
    damaged = bytearray((tmp_path / "3.ckpt" / file).read_bytes())
    damaged[-2] ^= 1
    (tmp_path / "3.ckpt" / file).write_bytes(damaged)

    assert [state["global_step"] for state in load_by("last")] == [2, 2]
    assert "3.ckpt" in str(recwarn.pop(UserWarning).message)
    for error in load_by("3.ckpt"):
        assert isinstance(error, DamagedCheckpointError)
        assert file in str(error)


def test_what_is_not_there_is_not_there_for_any_rank(tmp_path: Path, ranks: Any) -> None:
    for name in ("last", "best", "1.ckpt"):
        found = ranks(2, lambda w, name=name: FolderStore(tmp_path).load(name, world=w))
        assert all(isinstance(error, CheckpointNotFoundError) for error in found), found


@pytest.mark.parametrize("size", [1, 2])
def test_a_save_that_ends_after_it_was_given_up_is_not_there(
    tmp_path: Path, ranks: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it write from the memory that the next one is copied into, nor delete for it."""
    release = threading.Event()
    create = disks.LocalDisk.create

    def hold(self: Any, path: str) -> Any:
        if "2.ckpt" in path:
            assert release.wait(30)
        return create(self, path)

    monkeypatch.setattr(disks.LocalDisk, "create", hold)

    def main(world: Any) -> str:
        saver = Saver(FolderStore(tmp_path), world, asynchronous=True, timeout=0.2)
        state, said = state_of(world.rank), ""
        for step in (1, 2, 3):
            state |= {"global_step": step, "state_dict": {"w": torch.full((3,), float(step))}}
            try:
                saver.settle()
            except SaveError as error:
                said = str(error)
            old = [str(tmp_path / "1.ckpt")] if step == 2 else []
            saver.save(state, str(tmp_path / f"{step}.ckpt"), Note(), obsolete=old)
        world.gather(None)
        late = [one for one in threading.enumerate() if one.name == "lt-checkpoint"]
        release.set()
        for thread in late:
            thread.join(30)
        saver.settle()
        saver.close()
        return said

    said = ranks(size, main)
    assert all("ends within 0.2 seconds" in one for one in said), said
    assert sorted(os.listdir(tmp_path)) == ["1.ckpt", "3.ckpt"]
    assert load(tmp_path / "3.ckpt")["state_dict"]["w"].tolist() == [3.0] * 3
