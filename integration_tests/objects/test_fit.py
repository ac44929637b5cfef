"""Whole runs that save into an object store."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import FolderStore, ModelCheckpoint, SaveError, StoreUnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BALLAST = 1_500_000
"""Numbers: 6 MB, of which there are two."""


@pytest.fixture(autouse=True)
def experiment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The experiment, whose runs are in an empty folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "programs"))
    monkeypatch.chdir(tmp_path)
    import experiment as found

    yield found
    sys.modules.pop("experiment", None)


def same(one: Any, other: Any) -> bool:
    ours, theirs = (x if isinstance(x, dict) else x.state_dict() for x in (one, other))
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_it_keeps_what_it_keeps_in_a_folder(
    asynchronous: bool, bucket: str, tmp_path: Path, experiment: Any
) -> None:
    """The best two and the newest, over a whole fit: as in a folder of this machine."""
    kept = []
    for root in (f"{bucket}/run", str(tmp_path / "run")):
        words: dict[str, Any] = {"save_top_k": 2, "save_last": True, "asynchronous": asynchronous}
        one = ModelCheckpoint(root, "{step}", "val_loss", every_n_train_steps=1, **words)
        experiment.fit(one, val_check_interval=1, max_steps=8)
        store = FolderStore(root)
        assert all(store.verify(name) for name in store.list())
        names = [path.rpartition("/")[2] for path in (one.best_model_path, one.last_model_path)]
        kept.append((store.list(), names, sorted(map(float, one.best_k_models.values()))))
        assert store.find("best") == one.best_model_path
    assert kept[0] == kept[1]
    assert len(kept[0][0]) == 3, "the newest is none of the best two"


def test_going_on_in_the_middle_of_an_epoch(bucket: str, experiment: Any) -> None:
    whole = experiment.fit()
    url = f"{bucket}/run"
    experiment.fit(ModelCheckpoint(url, "{step}", every_n_train_steps=5), max_steps=10)
    part = experiment.fit(ckpt_path=f"{url}/step=10.ckpt")
    assert same(part, whole)
    again = ModelCheckpoint(url, "{step}", every_n_train_steps=7)
    assert same(experiment.fit(again, ckpt_path="last"), whole)
    found = type(whole).load_from_checkpoint(f"{url}/last.ckpt")
    assert same(found, whole)


def test_nobody_starts_anew_because_the_store_is_away(
    bucket: str, by_door: dict[str, Any], door: Any, experiment: Any
) -> None:
    store = FolderStore(f"{bucket}/run", storage_options=by_door)

    def keep() -> ModelCheckpoint:
        return ModelCheckpoint(store.root, "{step}", every_n_train_steps=1, store=store)

    experiment.fit(keep(), max_steps=2, store=store)
    door.shut()
    with pytest.raises(StoreUnavailableError, match=bucket):
        experiment.fit(keep(), ckpt_path="last", store=store)
    door.open()
    assert store.list() == ["step=2.ckpt"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("gone", [False, True], ids=["fails", "is gone"])
def test_the_second_save_fails(
    gone: bool,
    asynchronous: bool,
    bucket: str,
    by_door: dict[str, Any],
    door: Any,
    server: Any,
    experiment: Any,
) -> None:
    """By an error of the server, or because it is gone: the first one is whole, the run stops."""
    store = FolderStore(f"{bucket}/run", storage_options=by_door)

    class Outage(experiment.Regression):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.trainer.global_step != 1:
                return
            while not FolderStore(store.root).list():  # the first one may still be on its way
                time.sleep(0.01)
            if gone:
                door.shut()
            else:
                server.fail("PUT", "step=2.ckpt/model.safetensors")

    experiment.Regression = Outage
    words: dict[str, Any] = {"asynchronous": asynchronous, "store": store}
    keep = ModelCheckpoint(store.root, "{step}", every_n_train_steps=1, **words)
    with pytest.raises(SaveError, match=r"run/step=2.ckpt"):
        experiment.fit(keep, store=store)
    assert keep.best_model_path == f"{store.root}/step=1.ckpt"
    if gone:
        door.open()
    assert store.list() == ["step=1.ckpt"]
    assert store.verify("step=1.ckpt").step == 1


@pytest.mark.parametrize("gone", [False, True], ids=["fails", "is gone"])
def test_or_the_run_warns_and_goes_on(
    gone: bool, bucket: str, by_door: dict[str, Any], door: Any, server: Any, experiment: Any
) -> None:
    store = FolderStore(f"{bucket}/run", storage_options=by_door)

    class Outage(experiment.Regression):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.trainer.global_step == 1 and gone:
                door.shut()
            elif self.trainer.global_step == 1:
                server.fail("PUT", "step=2.ckpt/manifest.json")
            elif self.trainer.global_step == 2 and gone:
                door.open()

    experiment.Regression = Outage
    words: dict[str, Any] = {"on_save_error": "warn", "store": store}
    keep = ModelCheckpoint(store.root, "{step}", every_n_train_steps=1, **words)
    with pytest.warns(UserWarning, match=r"(?s)step=2.ckpt.*The run goes on"):
        experiment.fit(keep, store=store, max_steps=5)
    assert store.list() == ["step=5.ckpt"]
    assert store.load("last")["global_step"] == 5


@pytest.mark.parametrize("asynchronous", [False, True])
def test_killed_in_the_midst_of_an_upload(
    asynchronous: bool,
    bucket: str,
    server: Any,
    s3: Any,
    script: Callable[..., Any],
    experiment: Any,
) -> None:
    """What was written so far is never listed as whole, and a run started anew goes on."""
    url = f"{bucket}/run"
    words = {"root": url, "ballast": BALLAST, "saving": {"asynchronous": asynchronous}}
    words["max_steps"] = [6]
    hung = server.hung
    server.rule("PUT", "step=4.ckpt/model.safetensors?partNumber=2", "hang")
    one = script("train", **words)
    server.wait_for_hung(hung + 1)
    one.kill()
    server.behave()
    assert s3.list_multipart_uploads(bucket.removeprefix("s3://")), "it was in the midst of it"
    store = FolderStore(url)
    assert store.list() == ["step=3.ckpt"]
    for name in store.list():
        assert store.verify(name)
    keep = ModelCheckpoint(url, "{step}", every_n_train_steps=1, asynchronous=asynchronous)
    with pytest.warns(UserWarning, match=r"step=4.ckpt is damaged .* it has no manifest.json"):
        again = experiment.fit(keep, ckpt_path="last", max_steps=6, ballast=BALLAST)
    assert same(again, experiment.fit(max_steps=6, ballast=BALLAST))
    assert store.list() == ["step=6.ckpt"]


def test_two_ranks(bucket: str, script: Callable[..., Any]) -> None:
    """The connection that the parent had is not used by those that it forks."""
    words: dict[str, Any] = {"root": f"{bucket}/run", "trainer": {"devices": 2}}
    one = script("train", max_steps=[2, 4], **words)
    assert one.wait() == 0, one.told
    store = FolderStore(f"{bucket}/run")
    assert store.list() == ["step=4.ckpt"]
    assert store.verify("last").world_size == 2


def test_told_to_end(bucket: str, experiment: Any) -> None:
    """Preemption saves beside the checkpoints, and not into a folder "s3:" of this machine."""
    from lt.callbacks import Preemption
    from lt_loop import Preempted

    class Ending(experiment.Regression):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.trainer.global_step == 3:
                signal.raise_signal(signal.SIGTERM)

    whole = experiment.fit()
    plain, experiment.Regression = experiment.Regression, Ending
    url = f"{bucket}/run"
    keep = ModelCheckpoint(url, every_n_train_steps=100)
    with pytest.raises(Preempted):
        experiment.fit(keep, Preemption())
    assert FolderStore(url).list() == ["preempted-step=3.ckpt"]
    experiment.Regression = plain
    assert same(experiment.fit(ModelCheckpoint(url), ckpt_path="last"), whole)
    assert not Path("s3:").exists()


def test_a_root_folder_at_a_url(bucket: str, experiment: Any) -> None:
    experiment.fit(ModelCheckpoint(), max_steps=7, default_root_dir=f"{bucket}/root")
    assert FolderStore(f"{bucket}/root/checkpoints").load("last")["global_step"] == 7
    whole = experiment.fit()
    root = {"default_root_dir": f"{bucket}/root"}
    assert same(experiment.fit(ModelCheckpoint(), ckpt_path="last", **root), whole)
    assert not Path("s3:").exists()


def test_saved_by_hand(bucket: str, options: dict[str, Any], experiment: Any) -> None:
    """``Trainer(store=...)`` has the options that ``save_checkpoint`` does not take."""
    store = FolderStore(f"{bucket}/run", storage_options=options)

    class Saving(experiment.Regression):
        def on_safe_point(self) -> None:
            if self.trainer.global_step == 2:
                self.trainer.save_checkpoint("by-hand.ckpt")

    experiment.Regression = Saving
    experiment.fit(store=store, max_steps=3)
    assert store.verify("by-hand.ckpt").step == 2
