"""`lt ckpt`, with a stand-in for lt-checkpoint; and what a checkpoint names is not imported."""

import sys
from pathlib import Path
from typing import Any

import pytest

READER = """
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class CheckpointNotFoundError(LookupError): ...


class StoreUnavailableError(OSError): ...


def local(path: Any) -> Path:
    # A URL of this store is a path, and one that is away is none.
    if "away" in str(path):
        raise StoreUnavailableError(f"{path} does not answer")
    return Path(str(path).removeprefix("toy://"))


class FolderStore:
    def __init__(self, root: Any) -> None:
        self.root = local(root)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("*.ckpt"))

    def exists(self, name: str) -> bool:
        return (self.root / name).exists()

    def list(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("epoch*.ckpt"))

    def manifest(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(step=20, kind="full", monitor="val_loss", score=0.125)


class Weight:
    dtype, shape = "float32", (3, 2)


def load(path: Any) -> dict[str, Any]:
    local(path)
    return {
        "epoch": 3,
        "state_dict": {"layer.weight": Weight()},
        "hyper_parameters": {"class_path": "evil.Model", "_target_": "evil.Model"},
        "callbacks": {"evil.Callback": {"best": [1, 2]}},
    }


def verify(path: Any) -> None:
    if not local(path).exists():
        raise CheckpointNotFoundError(f"there is no {path}")
    if "torn" in str(path):
        raise ValueError(f"{path} lacks\\nits manifest")
"""

EXPORT = """
from pathlib import Path


def export(path, target):
    Path(target).write_text(f"from {Path(path).name}")
"""

STORE = """
import lt_checkpoint
from toy import Line


class Store:
    def save(self, state, name, *, metrics=None, world=None): ...
    def list(self): return []
    def remove(self, name): ...
    def load(self, name, *, world=None):
        state = {"state_dict": {}, "loops": {}, "program": {}, "optimizers": [], "format": 1}
        return {**lt_checkpoint.load(name), "epoch": 0, "global_step": 0, **state}
"""


@pytest.fixture
def saved(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two checkpoints, one of them torn, and a module that must not be imported."""
    monkeypatch.delitem(sys.modules, "lt_checkpoint", raising=False)
    monkeypatch.delitem(sys.modules, "lt_checkpoint.lightning", raising=False)
    Path("lt_checkpoint").mkdir()
    Path("lt_checkpoint", "__init__.py").write_text(READER)
    Path("lt_checkpoint", "lightning.py").write_text(EXPORT)
    Path("evil.py").write_text("raise SystemExit('imported')")
    for name in ("a-torn.ckpt", "epoch=1.ckpt"):
        Path("saved", name).mkdir(parents=True)
    return Path("saved")


def test_list_names_the_whole_ones(saved: Path, lt: Any) -> None:
    code, out, err = lt("ckpt", "list", "saved")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["name", "step", "kind", "score"],
        ["epoch=1.ckpt", "20", "full", "val_loss=0.125"],
    ]


def test_verify_tells_the_whole_from_the_damaged(saved: Path, lt: Any) -> None:
    code, out, err = lt("ckpt", "verify", "saved")
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        "DAMAGED saved/a-torn.ckpt: saved/a-torn.ckpt lacks its manifest",
        "whole   saved/epoch=1.ckpt",
    ]
    whole = "saved/epoch=1.ckpt"
    assert lt("ckpt", "verify", whole) == (0, f"whole   {whole}\n", "")


def test_show_prints_the_outline_and_imports_nothing(saved: Path, lt: Any) -> None:
    code, out, err = lt("ckpt", "show", "saved/epoch=1.ckpt")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "epoch: 3",
        "state_dict: 1 entry",
        "  layer.weight: float32 (3, 2)",
        "hyper_parameters: 2 entries",
        "  class_path: 'evil.Model'",
        "  _target_: 'evil.Model'",
        "callbacks: 1 entry",
        "  evil.Callback: 1 entry",
        "    best: list of 2",
    ]
    assert "evil" not in sys.modules


def test_export_writes_a_new_file(saved: Path, lt: Any) -> None:
    words = ["ckpt", "export", "saved/epoch=1.ckpt", "out.ckpt"]
    assert lt(*words)[0] == 0
    assert Path("out.ckpt").read_text() == "from epoch=1.ckpt"
    code, _, err = lt(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert "out.ckpt, which is there" in err


def test_nothing_there_is_said_in_one_line(saved: Path, lt: Any) -> None:
    message = "lt ckpt: there is nothing at nowhere.\n"
    assert lt("ckpt", "list", "nowhere") == (2, "", message)


def test_a_url_is_looked_at_like_a_folder(saved: Path, lt: Any) -> None:
    for verb in ("list", "verify"):
        code, out, err = lt("ckpt", verb, "saved")
        expected = out.replace("saved/", "toy://saved/")
        assert lt("ckpt", verb, "toy://saved/") == (code, expected, err)
    one = "toy://saved/epoch=1.ckpt"
    assert lt("ckpt", "verify", one) == (0, f"whole   {one}\n", "")
    assert lt("ckpt", "show", one) == lt("ckpt", "show", "saved/epoch=1.ckpt")
    assert lt("ckpt", "export", one, "out.ckpt")[0] == 0
    assert Path("out.ckpt").read_text() == "from epoch=1.ckpt"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "toy://empty"], "there is no whole checkpoint in toy://empty."),
        (["verify", "toy://empty"], "there is no checkpoint in toy://empty."),
        (
            ["list", "toy://torn"],
            "there is no whole checkpoint in toy://torn. Run: lt ckpt verify toy://torn",
        ),
        (
            ["list", "toy://saved/epoch=1.ckpt"],
            "there is no whole checkpoint in toy://saved/epoch=1.ckpt. It is one itself: name the "
            "folder it is in, toy://saved.",
        ),
        (
            ["show", "toy://saved"],
            "lt ckpt show takes one checkpoint. Received toy://saved, which holds "
            "toy://saved/a-torn.ckpt, toy://saved/epoch=1.ckpt. Name one of them.",
        ),
        (["verify", "toy://no.ckpt"], "there is no toy://no.ckpt"),
        (["verify", "toy://away.ckpt"], "toy://away.ckpt does not answer"),
        (["list", "toy://away"], "toy://away does not answer"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_with_a_url_is_told(
    saved: Path, lt: Any, words: list[str], message: str
) -> None:
    Path("torn", "a-torn.ckpt").mkdir(parents=True)
    assert lt("ckpt", *words) == (2, "", f"lt ckpt: {message}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "."], "there is no whole checkpoint in {here}. There are some in saved, torn."),
        (["verify", "."], "there is no checkpoint in {here}. There are some in saved, torn."),
        (["list", "torn"], "there is no whole checkpoint in {here}/torn. Run: lt ckpt verify torn"),
        (["list", "empty"], "there is no whole checkpoint in {here}/empty."),
        (
            ["list", "saved/epoch=1.ckpt"],
            "there is no whole checkpoint in {here}/saved/epoch=1.ckpt. It is one itself: name the "
            "folder it is in, saved.",
        ),
        (
            ["show", "saved"],
            "lt ckpt show takes one checkpoint. Received saved, which holds saved/a-torn.ckpt, "
            "saved/epoch=1.ckpt. Name one of them.",
        ),
        (
            ["export", "saved", "out.ckpt"],
            "lt ckpt export takes one checkpoint. Received saved, which holds saved/a-torn.ckpt, "
            "saved/epoch=1.ckpt. Name one of them.",
        ),
        ([], "the following arguments are required: list | verify | show | export."),
    ],
    ids=" ".join,
)
def test_a_folder_of_the_wrong_kind_is_told_the_right_one(
    saved: Path, lt: Any, words: list[str], message: str
) -> None:
    Path("empty").mkdir()
    Path("torn", "a-torn.ckpt").mkdir(parents=True)
    expected = message.replace("{here}", str(saved.absolute().parent))
    assert lt("ckpt", *words) == (2, "", f"lt ckpt: {expected}\n")


def test_without_the_package_it_says_what_to_install(
    project: Path, lt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_cli.checkpoints.PACKAGE", "lt_checkpoint_of_nobody")
    code, _, err = lt("ckpt", "list", ".")
    assert (code, err.count("\n")) == (2, 1)
    assert err.endswith("Run: pip install lt-checkpoint\n")


@pytest.mark.parametrize("name", ["test", "validate", "predict"])
def test_a_run_from_a_checkpoint_imports_nothing_it_names(name: str, saved: Path, lt: Any) -> None:
    Path("storing.py").write_text(STORE)
    words = ["--config", "run.yaml", "--trainer.store", "storing.Store", "--ckpt_path", "any"]
    code, _, err = lt(name, *words)
    assert (code, err) == (0, "")
    assert "evil" not in sys.modules
