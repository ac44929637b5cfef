"""A remote store, of which there is one in memory."""

from collections.abc import Iterator
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec")

from lt_checkpoint import (  # noqa: E402
    CheckpointNotFoundError,
    DamagedCheckpointError,
    FolderStore,
    SaveError,
    load,
    save,
    verify,
)

URL = "memory://bucket/run"


@pytest.fixture
def memory() -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def test_a_state_comes_back(memory: Any, state: Any, alike: Any) -> None:
    store = FolderStore(URL)
    store.save(state, "a.ckpt", metrics={"loss": 1.0})
    assert alike(store.load("a.ckpt"), state)
    assert alike(load(f"{URL}/a.ckpt"), state)
    assert store.list() == ["a.ckpt"]
    assert verify(f"{URL}/a.ckpt").metrics == {"loss": 1.0}
    assert alike(FolderStore("somewhere").load(f"{URL}/a.ckpt"), state)


def test_last_and_pruning(memory: Any) -> None:
    store = FolderStore(URL)
    for step in (2, 3, 1):
        store.save({"global_step": step}, f"{step}.ckpt")
    assert store.load("last")["global_step"] == 3
    assert store.find("last") == f"{URL}/3.ckpt"
    store.remove("3.ckpt")
    assert store.load("last")["global_step"] == 2
    assert sorted(memory.store) == sorted(
        f"/bucket/run/{step}.ckpt/{file}"
        for step in (1, 2)
        for file in ("manifest.json", "state.json")
    )


def test_without_its_manifest_it_is_none(memory: Any) -> None:
    store = FolderStore(URL)
    for step in (1, 2):
        store.save({"global_step": step}, f"{step}.ckpt")
    memory.rm("/bucket/run/2.ckpt/manifest.json")
    assert store.list() == ["1.ckpt"]
    with pytest.warns(UserWarning, match=r"2.ckpt is damaged"):
        assert store.load("last")["global_step"] == 1
    with pytest.raises(DamagedCheckpointError, match=r"has no manifest.json"):
        store.load("2.ckpt")


def test_a_name_is_not_taken_twice(memory: Any) -> None:
    save({"global_step": 1}, f"{URL}/a.ckpt")
    with pytest.raises(SaveError, match="is not replaced"):
        save({"global_step": 2}, f"{URL}/a.ckpt")
    assert load(f"{URL}/a.ckpt")["global_step"] == 1


def test_a_save_that_fails_leaves_nothing(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = type(memory).open

    def broken(self: Any, path: str, *args: Any, **words: Any) -> Any:
        if path.endswith("manifest.json"):
            raise OSError("the network is gone")
        return opened(self, path, *args, **words)

    monkeypatch.setattr(type(memory), "open", broken)
    with pytest.raises(SaveError, match="the network is gone"):
        save({"global_step": 1}, f"{URL}/a.ckpt")
    assert not memory.exists("/bucket/run/a.ckpt")


def test_nothing_there(memory: Any) -> None:
    with pytest.raises(CheckpointNotFoundError):
        load(f"{URL}/a.ckpt")
    assert FolderStore(URL).list() == []


def test_an_unknown_protocol_is_said(memory: Any) -> None:
    with pytest.raises((LookupError, ValueError), match="nosuch"):
        FolderStore("nosuch://bucket").list()


def test_without_fsspec_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(LookupError, match=r"lt-checkpoint\[remote\]"):
        FolderStore(URL).list()
