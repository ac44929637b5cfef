"""The repository keeps its own rules, and the tools that check them notice when it does not."""

import importlib.metadata
import shutil
from pathlib import Path

import pytest

import closure
import house
import sizes
import sync
import version

PACKAGES = house.packages()


def test_every_package_folder_is_a_member_of_the_workspace():
    folders = {path.parent for path in (house.ROOT / "packages").glob("*/pyproject.toml")}
    assert {package.folder for package in PACKAGES} == folders


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_carries_what_it_must(package: house.Package):
    license_text = (house.ROOT / "LICENSE").read_text("utf-8")
    assert (package.folder / "LICENSE").read_text("utf-8") == license_text
    assert (package.source / "py.typed").exists()
    assert list(package.tests.rglob("test_*.py")), "a package has tests of its own"
    assert package.project["requires-python"] == ">=3.11"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_readme_gives_a_reason_for_each_dependency(package: house.Package):
    text = (package.folder / "README.md").read_text("utf-8")
    required = [*package.dependencies, *(r for e in package.extras.values() for r in e)]
    for requirement in required:
        assert f"`{requirement.name}`" in text


@pytest.mark.parametrize("name", ["lt-accel", "lt-data", "lt-module"])
def test_one_that_computes_with_torch_brings_torch_and_nothing_else(name: str):
    """And what torch itself needs, on this machine."""
    assert closure.brought_by(name) == {"torch"} | closure.brought_by("torch")


def test_the_loop_brings_nothing():
    assert closure.brought_by("lt-loop") == set()


def test_what_an_extra_brings_is_told_apart():
    alone = closure.brought_by("lt-callbacks")
    assert alone == {"lt-loop"}
    assert closure.brought_by("lt-callbacks", extras=["tqdm"]) - alone == {"tqdm"}


def test_the_closure_of_a_package_is_a_row_with_its_figures(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["closure.py", "lt-loop"])
    assert closure.main() == 0
    _, row = capsys.readouterr().out.splitlines()
    name, brings, own, in_all = row.split()
    assert (name, brings) == ("lt-loop", "0")
    assert float(own) > 0
    assert float(in_all) == pytest.approx(float(own), abs=0.06)


def test_a_closure_that_is_not_installed_is_named_rather_than_counted(capsys, monkeypatch):
    def lacks(name: str, *, extras: tuple[str, ...] = ()) -> set[str]:
        raise importlib.metadata.PackageNotFoundError("a-client")

    monkeypatch.setattr(closure, "brought_by", lacks)
    monkeypatch.setattr("sys.argv", ["closure.py", "lt-loop"])
    assert closure.main() == 0
    assert "lt-loop: not known here, where a-client is not installed" in capsys.readouterr().out


def copy_of_the_house(target: Path) -> list[house.Package]:
    shutil.copy(house.ROOT / "hatch.toml", target)
    for package in PACKAGES:
        folder = target / package.folder.relative_to(house.ROOT)
        folder.mkdir(parents=True)
        shutil.copy(package.folder / "pyproject.toml", folder)
    return house.packages(target)


def test_a_new_version_reaches_every_package_and_pin(tmp_path: Path):
    names = [package.name for package in PACKAGES]
    for package in copy_of_the_house(tmp_path):
        version.rewrite(package, names, "7.8.9")
    changed = house.packages(tmp_path)

    assert version.mistakes(changed) == []
    assert {package.version for package in changed} == {"7.8.9"}
    pins = [r for p in changed for r in p.dependencies if r.name in names]
    assert {str(pin.specifier) for pin in pins} == {"~=7.8.0"}
    assert {e for p in changed for r in p.dependencies for e in r.extras} == {
        e for p in PACKAGES for r in p.dependencies for e in r.extras
    }


def test_a_version_out_of_step_is_named(tmp_path: Path):
    copies = copy_of_the_house(tmp_path)
    version.rewrite(copies[0], [], "0.99.0")

    found = version.mistakes(house.packages(tmp_path))

    # Each other package has an older version, and each pin on any sibling is now too old.
    assert len([line for line in found if "but lt-loop has 0.99.0" in line]) == len(copies) - 1
    assert any("expected lt-loop~=0.99.0" in line for line in found)


def test_an_install_in_step_is_not_stale_and_a_changed_one_is(tmp_path: Path):
    for package in PACKAGES:
        assert not sync.is_stale(package), package.name
    # The same packages somewhere else: what is installed reads another folder.
    for package in copy_of_the_house(tmp_path):
        assert sync.is_stale(package), package.name


def test_a_changed_requirement_is_noticed(tmp_path: Path):
    copies = {package.name: package for package in copy_of_the_house(tmp_path)}
    path = copies["lt-callbacks"].folder / "pyproject.toml"
    installed = importlib.metadata.distribution("lt-callbacks")
    assert sync.same_requirements(copies["lt-callbacks"], installed)

    path.write_text(path.read_text("utf-8").replace("tqdm>=4.64", "tqdm>=4.65"), "utf-8")

    assert not sync.same_requirements(house.read_package(path.parent), installed)


FORTY_ONE = "\n".join(f"    x{i} = {i}" for i in range(41))


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("pkg/loop.py", f"def long():\n{FORTY_ONE}\n", "long has 41 lines of code"),
        ("pkg/loop.py", "x = 1\n" * 301, "301 lines of code"),
        ("pkg/utils.py", "", "the word {'utils'} in a file name"),
        ("pkg/core/loop.py", "", "the word {'core'} in a file name"),
        ("pkg/loop.py", "class HTTPHandler: ...\n", "the word {'handler'} in HTTPHandler"),
        ("pkg/loop.py", "class CheckpointMixin: ...\n", "the word {'mixin'} in CheckpointMixin"),
    ],
)
def test_sizes_and_names_are_held(path: str, text: str, complaint: str):
    (found,) = sizes.mistakes(Path(path), text)
    assert complaint in found


@pytest.mark.parametrize(
    "text",
    [
        "# why\n\n" * 400 + "x = 1\n",
        '"""' + "why\n" * 400 + '"""\n',
        'x = 1\n"""' + "what it is\n" * 400 + '"""\n',
        'def f():\n    """' + "why\n\n    " * 100 + '"""\n    return 1\n',
        f"def f(\n    {', '.join(f'x{i}' for i in range(60))},\n): ...\n".replace(", ", ",\n    "),
        "class Score: ...\n",
    ],
    ids=["comments", "docstring", "attribute docstring", "function", "signature", "inside a word"],
)
def test_explanations_and_signatures_are_not_counted(text: str):
    assert sizes.mistakes(Path("pkg/loop.py"), text) == []
