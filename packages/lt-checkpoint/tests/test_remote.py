"""A remote store, of which there is one in memory."""

import pickle
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec")

from lt_checkpoint import (  # noqa: E402
    CheckpointNotFoundError,
    DamagedCheckpointError,
    FolderStore,
    ModelCheckpoint,
    SaveError,
    StoreUnavailableError,
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
    with pytest.raises(LookupError, match=r"'nosuch://bucket', for which fsspec says: .*nosuch"):
        FolderStore("nosuch://bucket").list()


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_client_that_is_not_installed_is_named() -> None:
    callback = ModelCheckpoint("s3://bucket/run")
    for ask in (lambda: load("s3://bucket/run/a.ckpt"), lambda: callback.resolve("last")):
        with pytest.raises(
            LookupError, match=r"s3fs for s3://.*'s3://bucket/run'.*[Ii]nstall s3fs"
        ):
            ask()


def test_a_local_url_is_a_folder(tmp_path: Path) -> None:
    store = FolderStore(f"file://{tmp_path}/run")
    store.claim()
    assert (tmp_path / "run" / ".lock").exists()
    save({"global_step": 1}, f"file://{tmp_path}/run/a.ckpt")
    save({"global_step": 2}, f"file://{tmp_path}/run/a.ckpt")
    assert store.load("last")["global_step"] == 2
    assert ModelCheckpoint(f"file://{tmp_path}/run").dirpath == str(tmp_path / "run")


class Away:
    """A file system whose every question fails, as where there is no network."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *args: Any, **words: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [PermissionError("no"), TimeoutError(), RuntimeError("no loop")])
def test_a_store_that_does_not_answer_is_not_an_empty_one(
    error: Exception, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(URL)
    store.save({"global_step": 1}, "1.ckpt")
    callback = ModelCheckpoint(URL)
    for name in ("info", "ls"):
        monkeypatch.setattr(type(memory), name, Away(error))
    ways: list[Any] = [store.list, store.has_any, lambda: store.load("last"), store.claim]
    ways += [lambda: store.exists("1.ckpt"), lambda: callback.resolve("last")]
    for way in ways:
        with pytest.raises(OSError, match=f"{URL}.* failed with {type(error).__name__}") as told:
            way()
        assert isinstance(told.value, SaveError | StoreUnavailableError)
    monkeypatch.undo()
    assert store.list() == ["1.ckpt"]


def test_options_reach_the_file_system(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    made = fsspec.core.url_to_fs
    monkeypatch.setattr(
        fsspec.core, "url_to_fs", lambda url, **words: seen.append(words) or made(url)
    )
    FolderStore(URL, storage_options={"token": "mine"}).list()
    assert seen == [{"use_listings_cache": False, "token": "mine"}]


def test_a_file_system_that_takes_no_word_about_listings(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fsspec.core.url_to_fs

    def strict(url: str, **words: Any) -> Any:
        if words:
            raise TypeError(f"connect() got unexpected {words}")
        return made(url)

    monkeypatch.setattr(fsspec.core, "url_to_fs", strict)
    assert FolderStore(URL).list() == []


def test_a_store_goes_to_another_process(memory: Any) -> None:
    store = FolderStore(URL)
    store.save({"global_step": 1}, "1.ckpt")
    assert pickle.loads(pickle.dumps(store)).list() == ["1.ckpt"]


def test_what_is_unfinished_is_told_and_deleted_where_that_is_safe(
    memory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save({"global_step": step}, f"{URL}/{step}.ckpt")
    memory.rm("/bucket/run/2.ckpt/manifest.json")
    memory.pipe("/bucket/run/theirs.ckpt/notes.txt", b"no checkpoint")
    FolderStore(URL).claim()
    assert caplog.messages == [
        f"{URL}/2.ckpt is not finished: its run still writes it, or has ended"
    ]
    FolderStore(URL, take_over=True).claim()
    assert FolderStore(URL).names() == ["1.ckpt", "theirs.ckpt"]


def test_without_fsspec_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(LookupError, match=r"lt-checkpoint\[remote\]"):
        FolderStore(URL).list()
