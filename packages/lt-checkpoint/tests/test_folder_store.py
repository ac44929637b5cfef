import json
import os
import shutil
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
    save,
    verify,
)
from lt_checkpoint import disk as disks
from lt_checkpoint.folder import Note


def at(step: int, **more: Any) -> dict[str, Any]:
    return {"global_step": step, "epoch": step // 10, "w": torch.full((4,), float(step)), **more}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = FolderStore(tmp_path / "run")
    yield made
    made.close()


def test_a_state_comes_back(store: FolderStore, state: Any, alike: Any) -> None:
    store.save(state, "a.ckpt")
    assert alike(store.load("a.ckpt"), state)
    assert store.list() == ["a.ckpt"]


def test_it_satisfies_the_port() -> None:
    from lt_loop import Store

    assert isinstance(FolderStore("."), Store)


def test_it_is_announced() -> None:
    from importlib import metadata

    (point,) = metadata.entry_points(group="lt.stores", name="folder")
    assert point.load() is FolderStore


def test_names_paths_and_relative_paths(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(at(1), "a.ckpt")
    store.save(at(2), str(tmp_path / "elsewhere" / "b.ckpt"))
    monkeypatch.chdir(tmp_path)
    store.save(at(3), "below/c.ckpt")
    assert store.list() == ["a.ckpt"]
    assert store.load("a.ckpt")["global_step"] == 1
    assert store.load(str(tmp_path / "elsewhere" / "b.ckpt"))["global_step"] == 2
    assert load("below/c.ckpt")["global_step"] == 3
    assert FolderStore("below").load("last")["global_step"] == 3
    assert FolderStore("run").load("run/a.ckpt")["global_step"] == 1


@pytest.mark.parametrize("name", ["", ".", "..", "/", ".hidden", "a\nb", ".lock"])
def test_what_is_no_name_is_refused(store: FolderStore, name: str) -> None:
    with pytest.raises((ValueError, CheckpointNotFoundError)):
        store.load(name)
    with pytest.raises(ValueError, match="has a name in a folder"):
        store.save(at(1), name)


def test_a_misspelt_name_is_told_the_closest(store: FolderStore) -> None:
    store.save(at(1), "epoch=1.ckpt")
    with pytest.raises(CheckpointNotFoundError, match=r"Did you mean 'epoch=1.ckpt'"):
        store.load("epoch=2.ckpt")


def test_a_name_is_a_string(store: FolderStore) -> None:
    with pytest.raises(TypeError, match="named by a string"):
        store.load(3)  # type: ignore[arg-type]


def test_last_is_the_newest_by_step_whatever_the_files_say(store: FolderStore) -> None:
    for step in (30, 10, 20):
        store.save(at(step), f"{step}.ckpt")
    os.utime(os.path.join(store.root, "10.ckpt"), (2e9, 2e9))
    assert store.load("last")["global_step"] == 30
    assert store.list() == ["10.ckpt", "20.ckpt", "30.ckpt"]
    assert store.find("last") == os.path.join(store.root, "30.ckpt")


def test_last_of_equal_steps_is_the_one_saved_last(store: FolderStore) -> None:
    store.save(at(5, word="first"), "b.ckpt")
    FolderStore(store.root).save(at(5, word="second"), "a.ckpt")
    assert store.load("last")["word"] == "second"


def test_last_can_be_gone_on_from_if_any_can(store: FolderStore) -> None:
    store.save(at(5), "full.ckpt")
    store.save({"global_step": 9, "state_dict": {}}, "weights.ckpt")
    assert store.load("last")["global_step"] == 5
    assert store.load("last", weights_only=True)["global_step"] == 9


def test_the_file_that_lightning_would_write_is_an_alias(store: FolderStore) -> None:
    store.save(at(5), "epoch=0-step=5.ckpt")
    assert store.load("last.ckpt")["global_step"] == 5
    assert load(os.path.join(store.root, "last.ckpt"))["global_step"] == 5


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 3)])
def test_best_is_chosen_by_the_metric(store: FolderStore, mode: Any, best: int) -> None:
    note = Note(monitor="loss", mode=mode)
    for step, loss in [(1, 0.5), (2, 0.25), (3, 0.75), (4, float("nan")), (5, 0.25)]:
        store.save(at(step), f"{step}.ckpt", metrics={"loss": loss, "other": 1}, note=note)
    store.save(at(6), "none.ckpt")
    assert store.load("best")["global_step"] == best
    assert store.manifest("3.ckpt").metrics == {"loss": 0.75, "other": 1.0}
    assert store.find("best") == os.path.join(store.root, f"{best}.ckpt")


def test_best_needs_one_metric(store: FolderStore) -> None:
    store.save(at(1), "a.ckpt")
    with pytest.raises(CheckpointNotFoundError, match="with a monitored metric"):
        store.load("best")
    for word in ("loss", "error"):
        store.save(at(1), f"{word}.ckpt", metrics={word: 1}, note=Note(monitor=word))
    with pytest.raises(LookupError, match=r"chosen by error \(min\), loss \(min\)"):
        store.load("best")


def test_nothing_to_load(store: FolderStore) -> None:
    assert store.list() == []
    assert store.find("last") is None
    for name in ("last", "best", "a.ckpt"):
        with pytest.raises(CheckpointNotFoundError):
            store.load(name)
    with pytest.raises(CheckpointNotFoundError):
        store.remove("a.ckpt")


def test_saving_under_a_name_again_replaces_it(store: FolderStore) -> None:
    store.save(at(1), "a.ckpt")
    store.save(at(2), "a.ckpt")
    assert store.load("a.ckpt")["global_step"] == 2
    assert sorted(os.listdir(store.root)) == ["a.ckpt"]


def test_what_is_no_checkpoint_is_neither_replaced_nor_deleted(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_text("of another library")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "model.py").write_text("work of a year")
    (tmp_path / "src" / "state.json").write_text("{}")
    store = FolderStore(tmp_path)
    for name in ("a.ckpt", "src"):
        with pytest.raises(SaveError, match="Only checkpoints are replaced and deleted"):
            store.save(at(1), name)
        with pytest.raises(SaveError, match="Only checkpoints are replaced and deleted"):
            store.remove(name)
    store.close()
    assert (tmp_path / "a.ckpt").read_text() == "of another library"
    assert sorted(os.listdir(tmp_path / "src")) == ["model.py", "state.json"]
    assert sorted(os.listdir(tmp_path)) == ["a.ckpt", "src"]


def test_a_damaged_one_can_be_replaced_and_deleted(store: FolderStore) -> None:
    for name in ("a.ckpt", "b.ckpt"):
        store.save(at(1), name)
        Path(store.root, name, "manifest.json").unlink()
    store.save(at(2), "a.ckpt")
    store.remove("b.ckpt")
    assert store.list() == ["a.ckpt"]


def test_removing(store: FolderStore) -> None:
    store.save(at(1), "a.ckpt")
    store.save(at(2), "b.ckpt")
    store.remove("a.ckpt")
    assert store.list() == ["b.ckpt"]
    assert sorted(os.listdir(store.root)) == ["b.ckpt"]


def test_only_the_weights(store: FolderStore, state: Any, alike: Any) -> None:
    store.save(state, "a.ckpt")
    found = store.load("a.ckpt", weights_only=True)
    assert set(found) == {"state_dict", "hyper_parameters", "epoch", "global_step"}
    assert alike(found["state_dict"], state["state_dict"])


def test_only_the_weights_do_not_read_the_rest(store: FolderStore, state: Any) -> None:
    store.save(state, "a.ckpt")
    flip(Path(store.root, "a.ckpt", "state.safetensors"), 300)
    assert store.load("a.ckpt", weights_only=True)["global_step"] == 17
    with pytest.raises(DamagedCheckpointError):
        store.load("a.ckpt")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << at % 8
    path.write_bytes(bytes(data))


def test_a_damaged_one_is_named_and_the_newest_whole_one_used(store: FolderStore) -> None:
    for step in (1, 2, 3, 4):
        store.save(at(step), f"{step}.ckpt")
    shutil.rmtree(Path(store.root, "4.ckpt"))
    Path(store.root, "4.ckpt").mkdir()
    flip(Path(store.root, "3.ckpt", "state.safetensors"), 100)
    with pytest.warns(UserWarning, match="is damaged") as told:
        assert store.load("last")["global_step"] == 2
    assert [word in str([one.message for one in told]) for word in ("4.ckpt", "3.ckpt is damaged")]
    for name in ("3.ckpt", "4.ckpt"):
        with pytest.raises(DamagedCheckpointError, match=name):
            store.load(name)
    assert store.list() == ["1.ckpt", "2.ckpt", "3.ckpt"]


@pytest.mark.parametrize("file", ["manifest.json", "state.safetensors"])
def test_one_that_is_deleted_while_it_is_read_is_not_called_damaged(
    store: FolderStore, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(at(10), "older.ckpt")
    store.save(at(20), "newer.ckpt")
    opened = disks.LocalDisk.open

    def deleted_first(self: Any, path: str) -> Any:
        if path.endswith(os.path.join("newer.ckpt", file)):
            store.remove("newer.ckpt")
        return opened(self, path)

    monkeypatch.setattr(disks.LocalDisk, "open", deleted_first)

    assert store.load("last")["global_step"] == 10


def test_where_all_are_damaged_nothing_is_loaded(store: FolderStore) -> None:
    for step in (1, 2):
        store.save(at(step), f"{step}.ckpt")
        flip(Path(store.root, f"{step}.ckpt", "state.json"), 10)
    with pytest.raises(CheckpointNotFoundError, match=r"2.ckpt is damaged.*1.ckpt is damaged"):
        store.load("last")


def test_what_fails_to_be_saved_changes_nothing(store: FolderStore) -> None:
    store.save(at(1), "a.ckpt")
    with pytest.raises(UnsavableStateError):
        store.save(at(2, f=print), "a.ckpt")
    assert store.load("a.ckpt")["global_step"] == 1
    assert sorted(os.listdir(store.root)) == ["a.ckpt"]


def test_no_room_is_said_before_anything_is_written(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(at(1), "a.ckpt")
    monkeypatch.setattr(disks.LocalDisk, "free", lambda self, path: 1000)
    with pytest.raises(
        SaveError, match=r"b.ckpt, which needs 1,04[0-9],[0-9]{3} bytes where 1,000"
    ):
        store.save(at(2), "b.ckpt")
    assert store.list() == ["a.ckpt"]


def test_a_folder_that_is_a_file_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(SaveError, match="run"):
        FolderStore(tmp_path / "run").claim()
    with pytest.raises(SaveError, match="run"):
        save(at(1), tmp_path / "run" / "a.ckpt")


def test_who_has_not_claimed_it_does_not_release_it(store: FolderStore) -> None:
    store.claim()
    other = FolderStore(store.root)
    other.save(at(1), "a.ckpt")
    other.close()
    assert sorted(os.listdir(store.root)) == [".lock", "a.ckpt"]
    store.close()
    assert os.listdir(store.root) == ["a.ckpt"]


def test_alone_it_needs_no_lock(tmp_path: Path) -> None:
    save(at(1), tmp_path / "a.ckpt", metrics={"loss": 1})
    assert os.listdir(tmp_path) == ["a.ckpt"]
    assert verify(tmp_path / "a.ckpt").metrics == {"loss": 1.0}


def test_there_is_no_pickle_in_it(store: FolderStore, state: Any) -> None:
    store.save(state, "a.ckpt")
    names = sorted(os.listdir(Path(store.root, "a.ckpt")))
    assert names == ["manifest.json", "model.safetensors", "state.json", "state.safetensors"]
    for name in ("manifest.json", "state.json"):
        json.loads(Path(store.root, "a.ckpt", name).read_bytes())


def test_the_manifest_says_what_the_run_was_like(store: FolderStore) -> None:
    store.save(at(12, fingerprint={"batch_size": 8}, exactness={"exact": True}), "a.ckpt")
    found = store.manifest("a.ckpt")
    assert (found.step, found.epoch, found.kind, found.world_size) == (12, 1, "full", 1)
    assert found.fingerprint == {"batch_size": 8}
    assert found.exactness == {"exact": True}
    assert found.versions["torch"] == torch.__version__


def test_a_link_in_place_of_a_file_is_not_followed(store: FolderStore, tmp_path: Path) -> None:
    store.save(at(1), "a.ckpt")
    inside = Path(store.root, "a.ckpt", "state.json")
    shutil.move(inside, tmp_path / "secret")
    inside.symlink_to(tmp_path / "secret")
    with pytest.raises(DamagedCheckpointError, match=r"state.json is no file"):
        store.load("a.ckpt")


def test_global_random_generators_are_left_alone(store: FolderStore, state: Any) -> None:
    before = torch.get_rng_state()
    store.save(state, "a.ckpt")
    store.load("a.ckpt")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "state", [[1], torch.nn.Linear(1, 1), None], ids=["list", "module", "None"]
)
def test_a_state_is_a_dict(tmp_path: Path, state: Any) -> None:
    kind = type(state).__name__
    with pytest.raises(TypeError, match=f"a dict of tensors and data. Received one {kind}"):
        save(state, tmp_path / "a.ckpt")
    assert not any(tmp_path.iterdir())


def test_what_is_refused_has_its_article(tmp_path: Path) -> None:
    with pytest.raises(UnsavableStateError, match=r"Received an object at state\['x'\]"):
        save({"x": object()}, tmp_path / "a.ckpt")
