"""docs/reliability.md names tests, and each of them is there."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reliability.md"
NAMED = re.findall(r"`((?:runs/|objects/)?test_\w+\.py)(?:::(test_\w+))?`", PAGE.read_text())


def place(file: str) -> Path:
    return (HERE.parent if file.startswith("objects/") else HERE) / file


def test_what_the_page_names_exists() -> None:
    assert len(NAMED) > 20
    for file, name in NAMED:
        assert place(file).exists(), file
        assert not name or f"\ndef {name}(" in place(file).read_text(), f"{file}::{name}"


def test_the_page_names_each_file_of_faults() -> None:
    named = {file for file, _ in NAMED}
    files = {str(path.relative_to(HERE)) for path in HERE.glob("**/test_*.py")}
    assert files - {Path(__file__).name} <= named
