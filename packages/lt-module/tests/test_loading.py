"""Modules from checkpoints, read by a store that a test puts among the entry points."""

import random
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lt_module import LTDataModule, LTModule, loading


class Net(LTModule):
    def __init__(self, width: int, depth: int = 1, act: str = "relu") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)])


class Shelf:
    """A store: what it returns for each name, and what it was asked."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []

    def load(self, name: str, **words: Any) -> Mapping[str, Any]:
        self.asked.append((name, words))
        return self.states[name]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf()
    point = SimpleNamespace(name="folder", load=lambda: lambda: made)
    monkeypatch.setattr(loading.metadata, "entry_points", lambda group: [point])
    return made


def saved(module: LTModule, **more: Any) -> dict[str, Any]:
    return {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), **more}


def equal(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_module_comes_back(shelf: Shelf) -> None:
    module = Net(3, depth=2)
    shelf.states["/a.ckpt"] = saved(module)
    found = Net.load_from_checkpoint("/a.ckpt")
    assert type(found) is Net
    assert found.hparams == {"width": 3, "depth": 2, "act": "relu"}
    assert equal(found, module)
    assert shelf.asked == [("/a.ckpt", {"weights_only": True})]


def test_names_of_places(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (f"{tmp_path}/a.ckpt", "memory://bucket/a.ckpt"):
        shelf.states[name] = saved(Net(3))
    Net.load_from_checkpoint("a.ckpt")
    Net.load_from_checkpoint(Path("a.ckpt"))
    Net.load_from_checkpoint("memory://bucket/a.ckpt")


def test_what_is_passed_comes_first(shelf: Shelf) -> None:
    shelf.states["/a"] = saved(Net(3, depth=2))
    assert Net.load_from_checkpoint("/a", act="tanh").hparams.act == "tanh"


def test_a_name_that_is_no_argument_is_refused(shelf: Shelf) -> None:
    shelf.states["/a"] = saved(Net(3))
    with pytest.raises(TypeError, match=r"arguments of Net: width, depth, act. Received 'wdth'"):
        Net.load_from_checkpoint("/a", wdth=3)


def test_what_the_constructor_does_not_take_is_left_out(shelf: Shelf) -> None:
    state = saved(Net(3))
    state["hyper_parameters"]["note"] = "added later"
    shelf.states["/a"] = state
    assert "note" not in Net.load_from_checkpoint("/a").hparams


def test_a_constructor_that_takes_everything_gets_everything(shelf: Shelf) -> None:
    class Open(LTModule):
        def __init__(self, width: int, **more: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    shelf.states["/a"] = saved(Open(3, lr=0.1))
    assert Open.load_from_checkpoint("/a").hparams == {"width": 3, "lr": 0.1}


def test_one_argument_that_was_saved_as_its_items(shelf: Shelf) -> None:
    class Configured(LTModule):
        def __init__(self, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters(config)
            self.layer = nn.Linear(config["width"], 1)

    shelf.states["/a"] = saved(Configured({"width": 4, "lr": 0.1}))
    found = Configured.load_from_checkpoint("/a")
    assert found.hparams == {"width": 4, "lr": 0.1}
    assert found.layer.in_features == 4


def test_an_argument_that_was_not_saved_is_named(shelf: Shelf) -> None:
    shelf.states["/a"] = {**saved(Net(3)), "hyper_parameters": {}}
    with pytest.raises(TypeError, match=r"It needs width too.*pass width=\.\.\. here"):
        Net.load_from_checkpoint("/a")
    assert Net.load_from_checkpoint("/a", width=3).hparams.width == 3


def test_weights_that_do_not_fit(shelf: Shelf) -> None:
    shelf.states["/a"] = saved(Net(3, depth=2))
    with pytest.raises(RuntimeError, match=r"layers\.1\.weight"):
        Net.load_from_checkpoint("/a", depth=1)
    with pytest.warns(UserWarning, match=r"loaded in part.*not in the module: layers\.1\.weight"):
        Net.load_from_checkpoint("/a", depth=1, strict=False)
    with pytest.warns(UserWarning, match=r"missing in the checkpoint: layers\.2\.weight"):
        Net.load_from_checkpoint("/a", depth=3, strict=False)


def test_strict_loading_of_the_module_decides(shelf: Shelf) -> None:
    class Loose(Net):
        strict_loading = False

    shelf.states["/a"] = saved(Net(3, depth=1))
    with pytest.warns(UserWarning, match="in part"):
        Loose.load_from_checkpoint("/a", depth=2)
    with pytest.raises(RuntimeError, match="Missing"):
        Loose.load_from_checkpoint("/a", depth=2, strict=True)


def test_hooks_are_called_before_the_weights_are_loaded(shelf: Shelf) -> None:
    class Late(LTModule):
        def configure_model(self) -> None:
            self.layer = nn.Linear(2, 1)

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.word = checkpoint["word"]
            checkpoint["state_dict"]["layer.bias"] = torch.tensor([7.0])

    first = Late()
    first.configure_model()
    shelf.states["/a"] = saved(first, word="own")
    found = Late.load_from_checkpoint("/a")
    assert found.word == "own"
    assert found.layer.bias.item() == 7.0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"width": 5}'),
        ("a.yaml", "width: 5\n"),
        ("a.csv", "key,value\nwidth,5\nact,relu\n"),
    ],
)
def test_hyperparameters_from_a_file(shelf: Shelf, tmp_path: Path, name: str, text: str) -> None:
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    (tmp_path / name).write_text(text)
    shelf.states["/a"] = {**saved(Net(5)), "hyper_parameters": {"width": 3}}
    found = Net.load_from_checkpoint("/a", hparams_file=tmp_path / name)
    assert found.hparams == {"width": 5, "depth": 1, "act": "relu"}


@pytest.mark.parametrize(("name", "text"), [("a.txt", ""), ("a.json", "[1]")])
def test_a_file_without_hyperparameters(shelf: Shelf, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    shelf.states["/a"] = saved(Net(5))
    with pytest.raises(ValueError, match="hparams_file"):
        Net.load_from_checkpoint("/a", hparams_file=tmp_path / name)


def test_where_it_goes(shelf: Shelf) -> None:
    shelf.states["/a"] = saved(Net(3))
    assert Net.load_from_checkpoint("/a", map_location="meta").device.type == "meta"
    assert Net.load_from_checkpoint("/a", map_location=torch.device("cpu")).device.type == "cpu"
    with pytest.raises(TypeError, match="map_location is a device"):
        Net.load_from_checkpoint("/a", map_location=lambda storage, place: storage)


def test_random_generators_stay_where_they_were(shelf: Shelf) -> None:
    shelf.states["/a"] = saved(Net(3))
    torch.manual_seed(3)
    random.seed(3)
    before = torch.get_rng_state(), random.getstate()
    Net.load_from_checkpoint("/a")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_it_is_a_method_of_the_class(shelf: Shelf) -> None:
    shelf.states["/a"] = saved(Net(3))
    with pytest.raises(TypeError, match=r"Write Net\.load_from_checkpoint"):
        Net(3).load_from_checkpoint("/a")
    assert "new" not in Net(3).load_from_checkpoint.__name__  # looking at it is allowed


def test_without_a_store_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.metadata, "entry_points", lambda group: [])
    with pytest.raises(LookupError, match="Install lt-checkpoint"):
        Net.load_from_checkpoint("/a")


class Data(LTDataModule):
    def __init__(self, folder: str, size: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.seen = 0

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


def test_a_data_module_comes_back(shelf: Shelf) -> None:
    shelf.states["/a"] = {
        "datamodule_hyper_parameters": {"folder": "x", "size": 5},
        "datamodule": {"seen": 7},
    }
    found = Data.load_from_checkpoint("/a", folder="y")
    assert (found.hparams.folder, found.hparams.size, found.seen) == ("y", 5, 7)


def test_so_does_one_of_lightning_s(shelf: Shelf) -> None:
    shelf.states["/a"] = {"datamodule_hyper_parameters": {"folder": "x"}, "Data": {"seen": 4}}
    assert Data.load_from_checkpoint("/a").seen == 4
