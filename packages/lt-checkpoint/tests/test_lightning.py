"""Lightning's files, with and without Lightning."""

import argparse
import datetime
import enum
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import FolderStore, lightning, load, save
from lt_checkpoint.numpy_numbers import NumberType, number


def of_lightning(**more: Any) -> dict[str, Any]:
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {"weight": torch.randn(3, 2), "bias": torch.zeros(3)},
        "hyper_parameters": {"lr": 0.1, "root": Path("data"), "every": datetime.timedelta(1)},
        "optimizer_states": [{"state": {}, "param_groups": []}],
        **more,
    }


def test_what_it_holds_is_read(tmp_path: Path, alike: Any) -> None:
    state = of_lightning()
    torch.save(state, tmp_path / "a.ckpt")
    assert alike(lightning.read(tmp_path / "a.ckpt"), state)
    assert alike(FolderStore(tmp_path).load("a.ckpt"), state)
    assert alike(load(tmp_path / "a.ckpt"), state)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def test_what_is_more_than_data_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save(of_lightning(evil=Evil(tmp_path / "made")), tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Evil(tmp_path / "made")))
    for name in ("a.ckpt", "b.ckpt"):
        with pytest.raises(ValueError, match="holds tensors and data"):
            load(tmp_path / name)
    assert not (tmp_path / "made").exists()


class Choice(enum.Enum):
    A = 1


@pytest.mark.parametrize("part", ["hyper_parameters", "callbacks"])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (Choice.A, f"{__name__}.Choice"),
        (Evil(Path("made")), f"{os.mkdir.__module__}.mkdir"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, part: str, value: Any, name: str) -> None:
    torch.save(of_lightning(**{part: {"a": [value]}}), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=rf"refuses: it names {re.escape(name)}, which") as error:
        load(tmp_path / "a.ckpt")
    assert "\x1b" not in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_of_numpy_are_read_as_pythons(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    kinds = ["float16", "float32", "float64", "bool"]
    kinds += [f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64)]
    numbers = [numpy.dtype(kind).type(value) for kind in kinds for value in (0, 1.5, 100)]
    numbers += [numpy.float64("nan"), numpy.int8(-128), numpy.uint64(2**64 - 1)]
    torch.save(of_lightning(hyper_parameters={"all": numbers}), tmp_path / "a.ckpt")
    found = load(tmp_path / "a.ckpt")["hyper_parameters"]["all"]
    assert repr(found) == repr([number.item() for number in numbers])


@pytest.mark.parametrize("order", ["<", ">", "="])
def test_numbers_of_another_machine_are_read(order: str) -> None:
    kind = NumberType("f8", False, True)
    kind.__setstate__((3, order, None, None, None, -1, -1, 0))
    assert number(kind, struct.pack(f"{order}d", 0.1)) == 0.1


def test_other_parts_of_numpy_are_refused_by_name(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    double = numpy.dtype("float64")
    record = numpy.zeros(1, dtype=[("a", "f8")])[0]
    for value, name in [
        (numpy.zeros(2), r"numpy\.\w+\.multiarray\._reconstruct"),
        (double, r"numpy\.dtype"),
        ([numpy.float64(1), {"deep": (double,)}], r"numpy\.dtype"),
        (numpy.float32, r"numpy\.float32"),
        (numpy.str_("a"), r"numpy\.dtype\('U1'\)"),
        (numpy.complex64(1), r"numpy\.dtype\('c8'\)"),
        (record, r"numpy\.dtype\('V8'\)"),
    ]:
        torch.save(of_lightning(callbacks={"a": value}), tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match=rf"refuses: it names {name}, which is more"):
            load(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NumberType("f8").__setstate__((3, "<", None, ("a",), {}, 8, 1, 0)), "numpy.dtype"),
        (lambda: NumberType(["f8"]), "numpy.dtype"),
        (lambda: number("f8", b"12345678"), "numpy.generic"),
        (lambda: number(NumberType("f8"), "12345678"), "numpy.generic"),
    ],
)
def test_a_type_with_more_to_it_is_refused(make: Any, said: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=said):
        make()
    with pytest.raises(struct.error):
        number(NumberType("f8"), b"1234")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a checkpoint at all", b"\x80\x02."])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match="A Lightning checkpoint"):
        load(tmp_path / "a.ckpt")


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="is a dict with a state_dict"):
        load(tmp_path / "a.ckpt")


@pytest.mark.parametrize("version", ["2.4.1", "2.9.0+cpu"])
def test_on_an_old_torch_it_must_be_asked_for(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(of_lightning(), tmp_path / "a.ckpt")
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(RuntimeError, match=r"from version 2.10 on.*accept_old_torch=True"):
        load(tmp_path / "a.ckpt")
    assert lightning.read(tmp_path / "a.ckpt", accept_old_torch=True)["epoch"] == 3


def test_an_export_is_one_file_that_torch_reads(tmp_path: Path, state: Any, alike: Any) -> None:
    save(state, tmp_path / "a.ckpt")
    lightning.export(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    found = torch.load(tmp_path / "b.ckpt", weights_only=True)
    for key in ("state_dict", "hyper_parameters", "epoch", "global_step", "optimizer_states"):
        assert alike(found[key], state[key])


def test_what_has_no_weights_is_not_exported(tmp_path: Path) -> None:
    save({"a": 1}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="Lightning loads a state_dict"):
        lightning.export(tmp_path / "a.ckpt", tmp_path / "b.ckpt")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_loads_what_was_exported_and_we_load_what_it_saves(
    tmp_path: Path, state: Any, alike: Any
) -> None:
    pl = pytest.importorskip("lightning.pytorch")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))

    class Net(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, lr: float = 1.0, layers: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.add_module("0", torch.nn.Linear(4, 3))
            self.add_module("1", torch.nn.BatchNorm1d(3))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.get_submodule("0")(batch).pow(2).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)

    save(state, tmp_path / "a.ckpt")
    lightning.export(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    module = Net.load_from_checkpoint(tmp_path / "b.ckpt")
    assert module.hparams == {"lr": 0.1, "layers": [4, 3]}
    assert alike(dict(module.state_dict()), state["state_dict"])

    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    data = torch.utils.data.DataLoader(torch.randn(8, 4), batch_size=4)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    found = load(tmp_path / "c.ckpt")
    assert found["hyper_parameters"] == {"lr": 0.1, "layers": [4, 3]}
    assert found["global_step"] == 4
    assert alike(dict(found["state_dict"]), dict(module.state_dict()))
    net.load_state_dict(found["state_dict"])

    again = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    again.fit(Net(), data, ckpt_path=tmp_path / "b.ckpt")
    (optimizer,) = again.optimizers
    steps = {int(one["step"]) for one in optimizer.state.values()}
    assert steps == {1, 9}, "eight beside the one in the state; what has no gradient has not moved"
