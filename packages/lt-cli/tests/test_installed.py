"""`lt backends` and `lt doctor`, on an installation that the test makes."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from lt_cli import doctor


@pytest.fixture
def install(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``install(group, name, code)`` installs a package that announces ``made`` of its module."""

    def install(group: str, name: str, code: str) -> None:
        package = f"package_{name}"
        information = project / f"{package}-1.0.dist-info"
        information.mkdir()
        (project / f"{package}.py").write_text(code)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {package}:made\n")

    return install


def test_backends_lists_what_is_announced_and_imports_nothing(install: Any, lt: Any) -> None:
    install("lt.stores", "shelf", "raise SystemExit('imported')")
    code, out, err = lt("backends")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["lt.stores", "shelf", "package_shelf", "1.0", "package_shelf:made"] in rows
    assert "package_shelf" not in sys.modules
    assert all(any(row[0] == group for row in rows) for group in ("lt.backends", "lt.worlds"))


def test_doctor_names_what_is_broken_and_what_to_do(install: Any, lt: Any) -> None:
    install("lt.feeds", "good", "made = 1")
    install("lt.feeds", "bad", "import nothing_of_that_name")
    code, out, err = lt("doctor")
    assert (code, err) == (1, "")
    broken = [line for line in out.splitlines() if line.startswith("broken")]
    assert len(broken) == 1
    assert "lt.feeds: bad" in broken[0]
    assert "ModuleNotFoundError: No module named 'nothing_of_that_name'" in broken[0]
    assert broken[0].endswith("pip install --force-reinstall 'package_bad'")
    assert any("lt.feeds: good" in line for line in out.splitlines() if line.startswith("ok"))


def test_what_is_not_installed_is_no_fault(lt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", {"nothing-of-that-name": ("magic", "lt[magic]")})
    monkeypatch.setattr(doctor, "announced", list)
    code, out, _ = lt("doctor")
    assert code == 0
    line = next(line for line in out.splitlines() if "nothing-of-that-name" in line)
    assert line.split() == [
        *["missing", "nothing-of-that-name", "magic", "pip", "install", "'lt[magic]'"]
    ]


def test_the_versions_are_those_installed(lt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "announced", list)
    _, out, _ = lt("doctor")
    rows = [line.split() for line in out.splitlines()]
    for name in ("lt-loop", "lt-cli"):
        assert ["ok", name, metadata.version(name)] in rows
    assert lt("--version")[1] == f"lt {metadata.version('lt-cli')}\n"
