"""The callback in real fits, of a small torch module that needs nothing but lt-loop."""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import (
    FolderInUseError,
    FolderStore,
    ModelCheckpoint,
    SaveError,
    UnsavableStateError,
    load,
    verify,
)
from lt_checkpoint import disk as disks
from lt_loop import Callback, Trainer
from lt_loop.solo import DuckBackend


class Line(torch.nn.Module):
    """Fits a line, and logs what it is told: in epoch e the e-th value."""

    trainer: Any = None

    def __init__(self, **values: Sequence[float]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.values = values

    def _log(self, prefix: str) -> None:
        for name, values in self.values.items():
            if name.startswith(prefix):
                self.trainer.log(name, float(values[self.trainer.current_epoch]), batch_size=1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = (self.layer(batch) - 3 * batch).pow(2).mean()
        self._log("train")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._log("val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


BATCHES = list(torch.linspace(-1, 1, 16).reshape(4, 4, 1))
"""Four batches."""


def trained(
    *callbacks: Callback, model: Any = None, val: Any = None, ckpt_path: Any = None, **words: Any
) -> Trainer:
    words = {"max_epochs": 3, "num_sanity_val_steps": 0, **words}
    trainer = Trainer(
        backend=DuckBackend(),
        logger=False,
        enable_progress_bar=False,
        callbacks=list(callbacks),
        **words,
    )
    trainer.fit(model or Line(), BATCHES, val, ckpt_path=ckpt_path)
    return trainer


def names(folder: Any) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_newest_is_kept_where_nothing_is_said(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path)
    trained(callback)
    assert names(tmp_path) == ["epoch=2-step=12.ckpt"]
    assert callback.best_model_path == str(tmp_path / "epoch=2-step=12.ckpt")
    assert callback.best_model_score is None
    assert callback.best_k_models == {}
    assert callback.last_model_path == ""
    found = load(callback.best_model_path)
    assert (found["epoch"], found["global_step"]) == (3, 12)
    assert found["callbacks"][callback.state_key]["best_model_path"] == callback.best_model_path


def test_the_state_is_the_one_at_that_moment(tmp_path: Path) -> None:
    model = Line()
    trained(ModelCheckpoint(tmp_path), model=model)
    found = load(tmp_path / "epoch=2-step=12.ckpt")["state_dict"]
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("mode", "best", "rest"), [("min", [1, 3], [0.5, 0.6]), ("max", [0, 2], [0.9, 0.8])]
)
def test_the_best_by_a_metric_of_validation(
    tmp_path: Path, mode: Any, best: list[int], rest: list[float]
) -> None:
    callback = ModelCheckpoint(
        tmp_path, "{epoch}-{val_loss:.1f}", monitor="val_loss", mode=mode, save_top_k=2
    )
    values = [0.9, 0.5, 0.8, 0.6]
    trainer = trained(callback, model=Line(val_loss=values), val=BATCHES, max_epochs=4)
    assert names(tmp_path) == [f"epoch={e}-val_loss={values[e]}.ckpt" for e in best]
    first = tmp_path / f"epoch={best[0]}-val_loss={rest[0]}.ckpt"
    assert callback.best_model_path == str(first)
    assert callback.best_model_score == rest[0]
    assert callback.best_model_score is not None
    assert callback.best_model_score.item() == rest[0]
    assert callback.kth_value == rest[1]
    assert sorted(callback.best_k_models.values()) == sorted(rest)
    assert callback.resolve("best") == str(first)
    assert FolderStore(tmp_path).find("best") == str(first)
    assert verify(first).metrics == {"val_loss": rest[0]}
    assert trainer.checkpoint_callback is callback


def test_all_or_none(tmp_path: Path) -> None:
    trained(ModelCheckpoint(tmp_path / "all", save_top_k=-1))
    assert names(tmp_path / "all") == [f"epoch={e}-step={4 * e + 4}.ckpt" for e in range(3)]
    trained(ModelCheckpoint(tmp_path / "none", save_top_k=0))
    assert names(tmp_path / "none") == []


def test_the_last_beside_the_best(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, monitor="val_loss", save_last=True)
    trained(callback, model=Line(val_loss=[0.5, 0.9, 0.8]), val=BATCHES)
    assert names(tmp_path) == ["epoch=0-step=4.ckpt", "epoch=2-step=12.ckpt"]
    assert callback.last_model_path == str(tmp_path / "epoch=2-step=12.ckpt")
    assert callback.best_model_path == str(tmp_path / "epoch=0-step=4.ckpt")
    assert verify(callback.last_model_path).names == ("last",)
    assert FolderStore(tmp_path).load("last.ckpt")["global_step"] == 12


def test_the_last_is_saved_in_the_end_where_nothing_was(tmp_path: Path) -> None:
    trained(ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=100))
    assert names(tmp_path) == ["epoch=2-step=12.ckpt"] or names(tmp_path) == [
        "epoch=3-step=12.ckpt"
    ]


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ({"every_n_train_steps": 3}, [3, 6, 9, 12]),
        ({"every_n_train_steps": 5}, [5, 10]),
        ({"every_n_epochs": 2}, [8]),
        ({"train_time_interval": timedelta(0)}, list(range(1, 13))),
        ({"train_time_interval": timedelta(days=1)}, []),
        ({"every_n_epochs": 0}, []),
    ],
)
def test_when_it_saves(tmp_path: Path, words: Any, steps: list[int]) -> None:
    trained(ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, **words))
    assert names(tmp_path) == sorted(f"step={step}.ckpt" for step in steps)


@pytest.mark.parametrize(
    ("words", "trainer", "steps"),
    [
        ({}, {}, [4, 8, 12]),
        ({}, {"val_check_interval": 0.5}, [2, 4, 6, 8, 10, 12]),
        ({}, {"check_val_every_n_epoch": 2}, [8]),
        ({"save_on_train_epoch_end": True}, {"val_check_interval": 0.5}, [4, 8, 12]),
        ({"save_on_train_epoch_end": False}, {}, [4, 8, 12]),
        ({"every_n_epochs": 2}, {"val_check_interval": 0.5}, [6, 8]),
    ],
)
def test_where_epochs_are_counted(tmp_path: Path, words: Any, trainer: Any, steps: Any) -> None:
    callback = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, **words)
    trained(callback, val=BATCHES, **trainer)
    assert names(tmp_path) == sorted(f"step={step}.ckpt" for step in steps)


def test_with_accumulation_a_step_is_saved_once(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
    trained(callback, accumulate_grad_batches=2)
    assert names(tmp_path) == sorted(f"step={step}.ckpt" for step in range(1, 7))


def test_a_name_that_is_taken_gets_a_version(tmp_path: Path) -> None:
    for _ in range(3):
        trained(ModelCheckpoint(tmp_path, "same"), max_epochs=1)
    assert names(tmp_path) == ["same-v1.ckpt", "same-v2.ckpt", "same.ckpt"]


def test_or_replaces_what_is_there(tmp_path: Path) -> None:
    for epochs in (1, 2):
        callback = ModelCheckpoint(tmp_path, "same", enable_version_counter=False)
        trained(callback, max_epochs=epochs)
    assert names(tmp_path) == ["same.ckpt"]
    assert load(tmp_path / "same.ckpt")["epoch"] == 2


def test_several_callbacks_share_a_folder(tmp_path: Path) -> None:
    callbacks = [
        ModelCheckpoint(tmp_path, "best-{epoch}", monitor="val_loss"),
        ModelCheckpoint(tmp_path, "step-{step}", every_n_train_steps=5, save_top_k=-1),
    ]
    trained(*callbacks, model=Line(val_loss=[0.5, 0.9, 0.8]), val=BATCHES)
    assert names(tmp_path) == ["best-epoch=0.ckpt", "step-step=10.ckpt", "step-step=5.ckpt"]
    assert callbacks[0].state_key != callbacks[1].state_key


def test_only_the_weights(tmp_path: Path) -> None:
    trained(ModelCheckpoint(tmp_path, "a", save_weights_only=True))
    found = load(tmp_path / "a.ckpt")
    assert "optimizer_states" not in found
    assert verify(tmp_path / "a.ckpt").kind == "weights"


def test_a_value_that_nobody_logs_is_named_with_the_closest(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, monitor="val_los")
    with pytest.raises(LookupError, match=r"monitor='val_los'.*Did you mean 'val_loss'"):
        trained(callback, model=Line(val_loss=[1, 2, 3]), val=BATCHES)


def test_a_value_of_validation_is_waited_for(tmp_path: Path) -> None:
    callback = ModelCheckpoint(
        tmp_path, "{step}", monitor="val_loss", every_n_train_steps=3, save_top_k=-1
    )
    trained(callback, model=Line(val_loss=[1, 2, 3]), val=BATCHES)
    assert names(tmp_path) == sorted(f"step={step}.ckpt" for step in (4, 6, 9, 12))


def test_nan_is_the_worst(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, "{epoch}", monitor="val_loss")
    values = [float("nan"), 0.5, float("nan")]
    trained(callback, model=Line(val_loss=values), val=BATCHES)
    assert names(tmp_path) == ["epoch=1.ckpt"]


def test_nothing_in_a_fast_dev_run(tmp_path: Path) -> None:
    trained(ModelCheckpoint(tmp_path / "a", save_last=True), fast_dev_run=True)
    assert not (tmp_path / "a").exists()


def test_the_default_folder(tmp_path: Path) -> None:
    callback = ModelCheckpoint()
    trained(callback, default_root_dir=tmp_path)
    assert callback.dirpath == str(tmp_path / "checkpoints")
    assert names(tmp_path / "checkpoints") == ["epoch=2-step=12.ckpt"]


def test_the_last_of_the_default_folder_is_found_before_the_run(tmp_path: Path) -> None:
    trained(ModelCheckpoint(), max_epochs=2, default_root_dir=tmp_path)
    again = trained(ModelCheckpoint(), ckpt_path="last", default_root_dir=tmp_path)

    assert (again.progress.batches, again.global_step) == (12, 12)
    assert names(tmp_path / "checkpoints") == ["epoch=2-step=12.ckpt"]


class Folder(Callback):
    """A logger with a folder."""

    def __init__(self, path: Path) -> None:
        self.log_dir = str(path)
        self.told: list[str] = []

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        pass

    def after_save_checkpoint(self, callback: ModelCheckpoint) -> None:
        self.told.append(callback.best_model_path)


def test_the_default_folder_with_a_logger(tmp_path: Path) -> None:
    callback, logger = ModelCheckpoint(every_n_epochs=2), Folder(tmp_path / "version_3")
    trained(callback, logger)
    assert callback.dirpath == str(tmp_path / "version_3" / "checkpoints")
    assert logger.told == [callback.best_model_path]


def test_a_second_fit_counts_anew(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, monitor="val_loss")
    trained(callback, model=Line(val_loss=[0.1]), val=BATCHES, max_epochs=1)
    trained(callback, model=Line(val_loss=[0.5, 0.4]), val=BATCHES, max_epochs=2)
    assert callback.best_model_score == 0.4
    assert names(tmp_path) == ["epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt"]


class StopAt(Callback):
    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise self.error


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_that_goes_on_ends_with_the_same_files_and_bits(
    tmp_path: Path, asynchronous: bool
) -> None:
    def callback(folder: str) -> ModelCheckpoint:
        return ModelCheckpoint(
            tmp_path / folder,
            monitor="train_x",
            save_top_k=2,
            save_last=True,
            every_n_train_steps=1,
            asynchronous=asynchronous,
        )

    def model() -> Line:
        torch.manual_seed(0)
        return Line(train_x=[0.5, 0.25, 0.75])

    whole, part, rest = callback("whole"), callback("part"), callback("part")
    expected = model()
    trained(whole, model=expected)
    with pytest.raises(ZeroDivisionError):
        trained(part, StopAt(6, ZeroDivisionError()), model=model())
    found = model()
    trained(rest, model=found, ckpt_path="last")
    assert torch.equal(found.layer.weight, expected.layer.weight)
    assert names(tmp_path / "part") == names(tmp_path / "whole")
    assert [os.path.basename(path) for path in rest.best_k_models] == [
        os.path.basename(path) for path in whole.best_k_models
    ]


def test_last_without_any_starts_from_the_beginning_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="starts from the beginning"):
        trained(ModelCheckpoint(tmp_path), ckpt_path="last")


def test_last_with_none_that_is_whole_does_not_start_from_zero(tmp_path: Path) -> None:
    trained(ModelCheckpoint(tmp_path), max_epochs=1)
    (tmp_path / "epoch=0-step=4.ckpt" / "manifest.json").unlink()
    with pytest.raises(LookupError, match="no whole checkpoint"):
        trained(ModelCheckpoint(tmp_path), ckpt_path="last")


def test_what_a_killed_run_had_yet_to_delete_is_deleted_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "remove", lambda self, name: None)  # killed before it
        trained(ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4), max_epochs=2)
    assert names(tmp_path) == ["step=4.ckpt", "step=8.ckpt"]
    trained(ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4), ckpt_path="last")
    assert names(tmp_path) == ["step=12.ckpt"]


def test_in_another_folder_only_the_best_is_remembered(tmp_path: Path) -> None:
    trained(
        ModelCheckpoint(tmp_path / "a", monitor="val_x"),
        model=Line(val_x=[1]),
        val=BATCHES,
        max_epochs=1,
    )
    path = tmp_path / "a" / "epoch=0-step=4.ckpt"
    other = ModelCheckpoint(tmp_path / "b", monitor="val_x")
    with pytest.warns(UserWarning, match="only best_model_path is kept"):
        trained(other, model=Line(val_x=[1, 2, 3]), val=BATCHES, ckpt_path=str(path))
    assert other.best_model_path == str(tmp_path / "b" / "epoch=1-step=8.ckpt")


def test_on_an_exception(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, save_on_exception=True, every_n_epochs=10)
    with pytest.raises(KeyboardInterrupt):
        trained(callback, Interrupt(at=6))
    assert names(tmp_path) == ["epoch=1-step=6.ckpt"]
    assert load(tmp_path / "epoch=1-step=6.ckpt")["global_step"] == 6


class Interrupt(Callback):
    """Ctrl-C, in the midst of a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        if trainer.global_step == self.at - 1:
            import signal

            signal.raise_signal(signal.SIGINT)


def failing(after: int) -> Callable[..., Any]:
    """``LocalDisk.create`` of a disk that is full once so many checkpoints were committed."""
    create, lock, committed = disks.LocalDisk.create, threading.Lock(), [0]

    def full(self: Any, path: str) -> Any:
        with lock:
            if committed[0] >= after:
                raise OSError(28, "No space left on device")
            committed[0] += path.endswith("manifest.json")
        return create(self, path)

    return full


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failed_save_ends_the_run_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    callback = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, asynchronous=asynchronous)
    with monkeypatch.context() as patch:
        patch.setattr(disks.LocalDisk, "create", failing(after=2))
        with pytest.raises(SaveError, match=r"step=6.ckpt.*No space left"):
            trained(callback)
    assert names(tmp_path) == ["step=4.ckpt"]
    assert callback.best_model_path == str(tmp_path / "step=4.ckpt")
    verify(tmp_path / "step=4.ckpt")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_or_warns_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    callback = ModelCheckpoint(
        tmp_path, "{step}", every_n_train_steps=2, asynchronous=asynchronous, on_save_error="warn"
    )
    with monkeypatch.context() as patch:
        patch.setattr(disks.LocalDisk, "create", failing(after=2))
        with pytest.warns(UserWarning, match="The run goes on"):
            trainer = trained(callback)
    assert trainer.global_step == 12
    assert names(tmp_path) == ["step=4.ckpt"]
    assert callback.best_model_path == str(tmp_path / "step=4.ckpt")


def test_a_successor_that_is_not_whole_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read back, it is not what was written: the one before stays."""
    import lt_checkpoint.committing as committing

    commit = committing.commit

    def spoilt(disk: Any, folder: str, name: str, **words: Any) -> None:
        commit(disk, folder, name, **words)
        if name == "step=8.ckpt":
            file = Path(folder, name, "state.safetensors")
            file.write_bytes(file.read_bytes()[:-1] + b"\x55")

    monkeypatch.setattr(committing, "commit", spoilt)
    with pytest.raises(SaveError, match=r"step=8.ckpt is damaged"):
        trained(ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4))
    verify(tmp_path / "step=4.ckpt")


class Unsavable(Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"f": print}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_state_that_is_no_data_ends_the_run_at_the_first_save(
    tmp_path: Path, asynchronous: bool
) -> None:
    callback = ModelCheckpoint(tmp_path, asynchronous=asynchronous, on_save_error="warn")
    with pytest.raises(UnsavableStateError, match=r"state\['callbacks'\]\['Unsavable'\]\['f'\]"):
        trained(callback, Unsavable())
    assert names(tmp_path) == []


def test_at_most_one_save_is_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lt_checkpoint import folder as folders

    write, inside, most = folders.Folder.write, [0], [0]

    def slow(self: Any, *arguments: Any, **words: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.02)
        try:
            return write(self, *arguments, **words)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(folders.Folder, "write", slow)
    trained(ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, asynchronous=True))
    assert most == [1]
    assert names(tmp_path) == ["step=12.ckpt"]


def test_what_is_saved_beside_the_training_is_of_its_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lt_checkpoint import folder as folders

    write = folders.Folder.write

    def slow(self: Any, *arguments: Any, **words: Any) -> Any:
        threading.Event().wait(0.05)  # several steps go by
        return write(self, *arguments, **words)

    def weights(folder: str, **words: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        trained(
            ModelCheckpoint(
                tmp_path / folder, "{step}", every_n_train_steps=1, save_top_k=-1, **words
            )
        )
        store = FolderStore(tmp_path / folder)
        states = [store.load(name) for name in store.list()]
        return [
            tensor
            for state in states
            for tensor in (
                state["state_dict"]["layer.weight"],
                state["optimizer_states"][0]["state"][0]["exp_avg"],
            )
        ]

    expected = weights("blocking")
    monkeypatch.setattr(folders.Folder, "write", slow)
    found = weights("asynchronous", asynchronous=True)
    assert len(found) == len(expected) == 24
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_two_callbacks_in_one_folder_take_no_name_from_each_other(
    tmp_path: Path, asynchronous: bool
) -> None:
    best = ModelCheckpoint(tmp_path, monitor="val_x", asynchronous=asynchronous)
    newest = ModelCheckpoint(tmp_path, every_n_epochs=1, asynchronous=asynchronous)
    values = [0.5, 0.1, 0.8, 0.9, 0.7]
    trained(best, newest, model=Line(val_x=values), val=BATCHES, max_epochs=5)

    assert verify(best.best_model_path).metrics["val_x"] == 0.1
    assert verify(newest.best_model_path).step == 20
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_name_without_a_place_for_the_epoch_stays(
    tmp_path: Path, asynchronous: bool, epochs: int
) -> None:
    callback = ModelCheckpoint(tmp_path, "best", monitor="val_x", asynchronous=asynchronous)
    trained(callback, model=Line(val_x=[0.9, 0.8, 0.7]), val=BATCHES, max_epochs=epochs)

    assert os.listdir(tmp_path) == ["best.ckpt"]
    assert verify(callback.best_model_path).step == 4 * epochs


def test_one_that_would_be_replaced_by_damage_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one has the name already when it is found to be damaged."""
    rename = disks.LocalDisk.rename

    def damaging(self: Any, path: str, to: str) -> None:
        rename(self, path, to)
        if os.path.basename(to) == "best.ckpt" and ".stage" in path and damaging.on:
            file = Path(to, "model.safetensors")
            file.write_bytes(file.read_bytes()[:-1] + b"?")

    damaging.on = False
    monkeypatch.setattr(disks.LocalDisk, "rename", damaging)

    class Switch(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            damaging.on = trainer.current_epoch == 1

    callback = ModelCheckpoint(tmp_path, "best", monitor="val_x", on_save_error="warn")
    with pytest.warns(UserWarning, match="What it was to replace is back"):
        trained(Switch(), callback, model=Line(val_x=[0.9, 0.8]), val=BATCHES, max_epochs=2)

    assert os.listdir(tmp_path) == ["best.ckpt"]
    assert verify(callback.best_model_path).step == 4


def test_the_last_one_is_the_newest_of_all_callbacks(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path / "best", monitor="val_x")
    every = ModelCheckpoint(tmp_path / "every", every_n_train_steps=1)
    model = Line(val_x=[0.1, 0.5, 0.5])
    trained(best, every, model=model, val=BATCHES, max_steps=10, max_epochs=None)

    class Steps(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            begun.append(trainer.global_step)

    begun: list[int] = []
    trained(Steps(), best, every, model=Line(val_x=[0.1] * 3), val=BATCHES, ckpt_path="last")
    assert begun == [10]


def test_two_live_runs_in_one_folder(tmp_path: Path) -> None:
    FolderStore(tmp_path).claim()
    text = (tmp_path / ".lock").read_text()
    from lt_checkpoint.owner import _started, this_process

    me = this_process()
    alive = text.replace(f'"pid": {me.pid}', '"pid": 1').replace(
        f'"started": {me.started}', f'"started": {_started(1)}'
    )
    (tmp_path / ".lock").write_text(alive)
    if os.getppid() == 1:
        pytest.skip("the only other process known to live is our parent, which may share")
    with pytest.raises(FolderInUseError, match="in use by process 1"):
        trained(ModelCheckpoint(tmp_path))


def test_a_folder_that_can_not_be_written_is_said_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = Line()
    with pytest.raises(SaveError, match="file"):
        trained(ModelCheckpoint(tmp_path / "file" / "a"), model=model)
    assert not model.layer.weight.grad


def test_to_a_url() -> None:
    fsspec = pytest.importorskip("fsspec")
    callback = ModelCheckpoint("memory://models/run", monitor="val_x", save_last=True)
    try:
        trained(callback, model=Line(val_x=[0.5, 0.9, 0.8]), val=BATCHES)
        found = FolderStore("memory://models/run")
        assert found.list() == ["epoch=0-step=4.ckpt", "epoch=2-step=12.ckpt"]
        trained(
            callback,
            model=Line(val_x=[0.5, 0.9, 0.8, 0.1]),
            val=BATCHES,
            max_epochs=4,
            ckpt_path="last",
        )
        assert callback.best_model_path == "memory://models/run/epoch=3-step=16.ckpt"
        assert found.list() == ["epoch=3-step=16.ckpt"]
    finally:
        fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ({"mode": "mix"}, ValueError, "Did you mean 'min'|'min', 'max'"),
        ({"on_save_error": "ignore"}, ValueError, "'raise', 'warn'"),
        ({"save_top_k": -2}, ValueError, "-1 for all"),
        ({"save_top_k": 2}, ValueError, "monitor='val_loss'"),
        ({"save_top_k": 1.0}, TypeError, "whole number"),
        ({"filename": "a/b"}, ValueError, "dirpath"),
    ],
)
def test_bad_arguments(words: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        ModelCheckpoint(**words)


def test_testing_an_older_one_changes_nothing(tmp_path: Path) -> None:
    class Tested(Line):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            pass

    callback = ModelCheckpoint(tmp_path, monitor="val_x", save_top_k=-1)
    model = Tested(val_x=[0.3, 0.2, 0.1])
    trainer = trained(callback, model=model, val=BATCHES)
    before = callback.state_dict()
    trainer.test(model, BATCHES, ckpt_path=str(tmp_path / "epoch=0-step=4.ckpt"))
    trainer.test(model, BATCHES, ckpt_path="best")
    assert callback.state_dict() == before
    callback.load_state_dict({**before, "current_score": 0.7})
    assert callback.current_score == 0.7


def test_what_a_run_in_other_processes_brings_home_is_all_of_it(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="val_x", save_top_k=2)
    trained(callback, model=Line(val_x=[3, 1, 2]), val=BATCHES, default_root_dir=tmp_path)
    here = ModelCheckpoint(monitor="val_x", save_top_k=2)
    here.load_state_dict(callback.state_dict())

    assert here.state_dict() == callback.state_dict()
    assert (here.resolve("last"), here.resolve("best")) == (
        str(tmp_path / "checkpoints" / "last"),
        callback.best_model_path,
    )


def test_it_is_the_default_of_the_trainer(tmp_path: Path) -> None:
    trainer = trained(default_root_dir=tmp_path, enable_checkpointing=True)
    assert isinstance(trainer.checkpoint_callback, ModelCheckpoint)
    assert names(tmp_path / "checkpoints") == ["epoch=2-step=12.ckpt"]


def test_the_trainer_saves_by_itself(tmp_path: Path) -> None:
    trainer = trained(ModelCheckpoint(tmp_path / "a"))
    trainer.save_checkpoint(tmp_path / "b" / "mine.ckpt")
    assert load(tmp_path / "b" / "mine.ckpt")["global_step"] == 12
