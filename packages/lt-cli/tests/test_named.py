"""What the user wrote, and which classes that names."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lt_cli import named


@pytest.fixture
def parts(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two public classes in modules of their own, one of which must not load."""
    Path("parts").mkdir()
    Path("parts/__init__.py").write_text(
        "from importlib import import_module\n\n__all__ = ['Heavy', 'Light']\n\n"
        "def __getattr__(name):\n"
        "    return getattr(import_module(f'parts.{name.lower()}'), name)\n"
    )
    Path("parts/light.py").write_text("class Light: ...\n")
    Path("parts/heavy.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.setattr(named, "SHORT_NAMES", ("parts", "nothing_of_that_name"))
    return project


def test_public_names_are_known_without_an_import(parts: Path) -> None:
    assert named.short_names() == {"Heavy": "parts", "Light": "parts"}
    assert "parts" not in sys.modules


def test_what_is_named_is_imported_alone(parts: Path) -> None:
    named.import_named({"Light", "Unknown", "heavy"})
    assert "parts.light" in sys.modules
    assert "parts.heavy" not in sys.modules


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--a", "B.c", "--d=E"], {"a", "B", "c", "d", "E"}),
        (["--config", "one.yaml"], {"config", "one", "yaml", "optimizer", "Adam"}),
        (["--config=one.yaml"], {"config", "one", "yaml", "optimizer", "Adam"}),
        ({"trainer": {"callbacks": ["F"]}}, {"trainer", "callbacks", "F"}),
        (["--config", "missing.yaml"], {"config", "missing", "yaml"}),
    ],
)
def test_words_are_those_of_the_command_and_of_its_files(
    arguments: Any, expected: set[str], project: Path
) -> None:
    Path("one.yaml").write_text("optimizer: Adam\n")
    assert named.words_written(arguments) == expected
