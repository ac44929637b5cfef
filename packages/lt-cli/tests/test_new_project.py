"""`lt new`: the files of a project; that it trains is for the integration tests to show."""

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml


def test_the_project_is_whole(tmp_path: Path, lt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = lt("new", "my-digits")
    assert (code, err) == (0, "")
    assert "cd my-digits\n  lt fit --config config.yaml" in out
    folder = Path("my-digits")
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {
        ".gitignore",
        "README.md",
        "config.yaml",
        "my_digits/__init__.py",
        "my_digits/data.py",
        "my_digits/model.py",
        "pyproject.toml",
        "tests/test_model.py",
    }
    texts = {name: (folder / name).read_text() for name in written}
    assert not [name for name, text in texts.items() if "PACKAGE" in text or "PROJECT" in text]
    for name in written:
        if name.endswith(".py"):
            ast.parse(texts[name])
    assert tomllib.loads(texts["pyproject.toml"])["project"]["name"] == "my-digits"
    config = yaml.safe_load(texts["config.yaml"])
    assert config["model"]["class_path"] == "my_digits.model.Digits"


@pytest.mark.parametrize("name", ["torch", "class", "1st", "my.project", "json"])
def test_a_name_that_no_package_can_have_is_refused(
    name: str, tmp_path: Path, lt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = lt("new", name)
    assert (code, err.count("\n")) == (2, 1)
    assert repr(name) in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(
    tmp_path: Path, lt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    code, _, err = lt("new", "mine")
    assert (code, err.count("\n")) == (2, 1)
    assert list(Path("mine").iterdir()) == []
