"""docs/reliability.md names tests, and each of them is there."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "reliability.md"
REFERENCE = re.compile(r"`((?:[\w-]+/)*test_\w+\.py)(?:::(test_\w+))?`")
FOLDERS = {"packages": ROOT, "objects": HERE.parent}
"""Where names begin that lead out of this folder."""
PROMISED, _, NOT_PROMISED = PAGE.read_text().partition("\n## What is not promised\n")
NAMED = REFERENCE.findall(PROMISED)


def missing(file: str, name: str) -> str | None:
    """Return what is not there of a test that is named."""
    path = FOLDERS.get(file.partition("/")[0], HERE) / file
    if not path.is_file():
        return file
    functions = [one.name for one in ast.parse(path.read_text()).body if hasattr(one, "args")]
    return f"{file}::{name}" if name and name not in functions else None


def test_what_the_page_names_exists() -> None:
    assert len(NAMED) > 20
    assert [lost for file, name in NAMED if (lost := missing(file, name))] == []


@pytest.mark.parametrize(
    "reference",
    [
        *("test_no_such.py", "packages/lt-checkpoint/tests/test_no_such.py"),
        *("runs/test_resume.py::test_no", "packages/lt-checkpoint/tests/test_patience.py::test_no"),
    ],
)
def test_one_that_does_not_exist_is_noticed(reference: str) -> None:
    ((file, name),) = REFERENCE.findall(f"`{reference}`")
    assert missing(file, name) == reference


def test_no_reference_is_left_unread() -> None:
    rest = REFERENCE.sub("", PROMISED) + NOT_PROMISED
    assert re.findall(r"\S*(?:test_|::|\.py\b)\S*", rest) == []


def test_each_promise_names_a_test() -> None:
    promises = re.split(r"^- ", PROMISED, flags=re.MULTILINE)[1:]
    assert len(promises) > 20
    assert [one for one in promises if not re.search(rf"^  {REFERENCE.pattern}", one, re.M)] == []


def test_the_page_names_each_file_of_faults() -> None:
    named = {file for file, _ in NAMED}
    files = {str(path.relative_to(HERE)) for path in HERE.glob("**/test_*.py")}
    assert files - {Path(__file__).name} <= named
