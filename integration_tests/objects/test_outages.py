"""The store fails, goes away, or refuses, at any place. Tried with the real client and server."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lt_checkpoint import (
    CheckpointNotFoundError,
    FolderStore,
    ModelCheckpoint,
    SaveError,
    StoreUnavailableError,
)

STATE = {"global_step": 1, "state_dict": {"weight": torch.ones(4)}}


@pytest.fixture
def store(bucket: str, options: dict[str, Any]) -> FolderStore:
    """One with a checkpoint in it."""
    found = FolderStore(f"{bucket}/run", storage_options=options)
    found.save(STATE, "1.ckpt")
    return found


@pytest.mark.parametrize("file", ["model.safetensors", "manifest.json"])
def test_an_upload_that_fails_is_no_save(file: str, store: FolderStore, server: Any) -> None:
    server.fail("PUT", f"2.ckpt/{file}")
    with pytest.raises(SaveError, match=r"(?s)run/2.ckpt, which could not be written.*this is a"):
        store.save({**STATE, "global_step": 2}, "2.ckpt")
    server.behave()
    assert store.list() == ["1.ckpt"]
    assert not store.exists("2.ckpt"), "what was there of it was cleared away"
    store.save({**STATE, "global_step": 2}, "2.ckpt")
    assert store.load("last")["global_step"] == 2


def test_no_part_of_a_failed_upload_stays(
    bucket: str, options: dict[str, Any], server: Any, s3: Any
) -> None:
    """Parts that nobody completes or gives up cost money for ever, and no listing shows them."""
    store = FolderStore(bucket, storage_options={**options, "default_block_size": 5 << 20})
    server.fail("PUT", "partNumber=2")
    weights = {name: torch.ones(1_500_000) for name in "abc"}
    with pytest.raises(SaveError, match="this is a test"):
        store.save({"state_dict": weights}, "a.ckpt")
    assert s3.list_multipart_uploads(bucket.removeprefix("s3://")) == []
    assert not store.exists("a.ckpt")


@pytest.mark.parametrize("count", [1, 300_000])
def test_it_goes_away_during_the_second_save(
    count: int, bucket: str, by_door: dict[str, Any], door: Any
) -> None:
    """With 300,000 bytes, in the midst of the file of the weights; what came before it stays."""
    store = FolderStore(f"{bucket}/run", storage_options=by_door)
    store.save(STATE, "1.ckpt")
    door.shut_after(count)
    with pytest.raises(SaveError, match=r"run/2.ckpt, which could not be written"):
        store.save({"global_step": 2, "state_dict": {"weight": torch.ones(250_000)}}, "2.ckpt")
    door.open()
    assert store.list() == ["1.ckpt"]
    assert store.verify("1.ckpt").step == 1
    store.save({**STATE, "global_step": 3}, "3.ckpt")
    assert store.exists("2.ckpt") == (count > 1)
    if count > 1:
        with pytest.warns(UserWarning, match=r"2.ckpt is damaged .* it has no manifest.json"):
            assert store.load("last")["global_step"] == 3
        store.remove("2.ckpt")
    assert store.load("last")["global_step"] == 3


def test_what_can_not_be_known_is_not_guessed(
    bucket: str, by_door: dict[str, Any], door: Any
) -> None:
    """Not: there is none, it is damaged, take an older one, or start from the beginning."""
    url = f"{bucket}/run"
    store = FolderStore(url, storage_options=by_door)
    for step in (1, 2):
        store.save({"global_step": step}, f"{step}.ckpt")
    callback = ModelCheckpoint(url, store=store)
    door.shut()
    ways: list[Callable[[], Any]] = [
        *(lambda name=name: store.load(name) for name in ("last", "best", "1.ckpt")),
        *(store.list, store.has_any, store.claim),
        *(lambda: store.verify("1.ckpt"), lambda: store.exists("1.ckpt")),
        *(lambda: store.remove("1.ckpt"), lambda: callback.resolve("last")),
    ]
    for way in ways:
        with pytest.raises(OSError, match=f"(?s){url}.*[Cc]onnect"):
            way()
    door.open()
    assert callback.resolve("last") == f"{url}/last"
    assert store.list() == ["1.ckpt", "2.ckpt"]


@pytest.mark.parametrize(
    ("method", "part"), [("GET", "2.ckpt/state.json"), ("HEAD", "2.ckpt/"), ("GET", "list-type=2")]
)
def test_an_error_while_reading_is_no_damage(
    method: str, part: str, store: FolderStore, server: Any
) -> None:
    store.save({**STATE, "global_step": 2}, "2.ckpt")
    server.fail(method, part)
    with pytest.raises(StoreUnavailableError, match="s3://"):
        store.load("last")
    server.behave()
    assert store.load("last")["global_step"] == 2


def test_what_is_not_allowed_is_told(store: FolderStore, bucket: str, server: Any) -> None:
    server.fail("GET", "state.json", 403, "AccessDenied")
    with pytest.raises(StoreUnavailableError, match=f"(?s){bucket}/run/1.ckpt.*PermissionError"):
        store.load("1.ckpt")
    server.fail("PUT", "run", 403, "AccessDenied")
    with pytest.raises(SaveError, match=f"(?s){bucket}/run.*PermissionError"):
        store.claim()


def test_what_is_not_deleted_is_told(store: FolderStore, caplog: Any, server: Any) -> None:
    """The answer to a request to delete several is 200, and holds the errors."""
    refused = "<Error><Key>x</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
    body = f"<DeleteResult>{refused}</DeleteResult>"
    server.rule("POST", "delete", {"status": 200, "body": body})
    with pytest.raises(StoreUnavailableError, match="did not delete it"):
        store.remove("1.ckpt")
    assert store.list() == ["1.ckpt"]
    store.claim()
    assert "what is obsolete will stay in s3://" in caplog.text


def test_a_bucket_that_is_not_there_is_not_made(s3: Any, options: dict[str, Any]) -> None:
    store = FolderStore("s3://misspelt/run", storage_options=options)
    with pytest.raises(SaveError, match=r"s3://misspelt/run.*bucket does not exist"):
        store.claim()
    with pytest.raises(SaveError, match=r"s3://misspelt/run.*bucket does not exist"):
        store.save(STATE, "1.ckpt")
    with pytest.raises(CheckpointNotFoundError):
        store.load("1.ckpt")
    assert not s3.exists("misspelt")


def test_without_credentials(
    bucket: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    bare = {"endpoint_url": options["endpoint_url"], "profile": None}
    store = FolderStore(f"{bucket}/run", storage_options=bare)
    with pytest.raises(StoreUnavailableError, match=f"(?s){bucket}/run.*credentials"):
        store.list()
    with pytest.raises(SaveError, match=f"(?s){bucket}/run.*credentials"):
        store.claim()


def test_options_it_does_not_know(bucket: str) -> None:
    store = FolderStore(bucket, storage_options={"endpoint": "http://127.0.0.1"})
    with pytest.raises(StoreUnavailableError, match=r"(?s)'endpoint'.*storage_options"):
        store.list()


def test_what_a_run_did_not_finish(
    bucket: str, options: dict[str, Any], s3: Any, caplog: Any
) -> None:
    """It is named, and deleted where nobody else can be writing it."""
    store = FolderStore(bucket, storage_options=options)
    for step in (1, 2):
        store.save({**STATE, "global_step": step}, f"{step}.ckpt")
    s3.rm(f"{bucket}/2.ckpt/manifest.json")
    s3.pipe_file(f"{bucket}/theirs.ckpt/notes.txt", b"no checkpoint")
    store.claim()
    assert f"{bucket}/2.ckpt is not finished" in caplog.text
    assert store.exists("2.ckpt")
    FolderStore(bucket, take_over=True, storage_options=options).claim()
    assert not store.exists("2.ckpt")
    assert s3.exists(f"{bucket}/theirs.ckpt/notes.txt")
    assert store.list() == ["1.ckpt"]
