"""What the tools know about the house: its packages and what each declares."""

import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Package:
    """One package, as its pyproject.toml describes it."""

    folder: Path
    _table: dict[str, Any] = field(repr=False)

    @property
    def project(self) -> dict[str, Any]:
        """The ``[project]`` table."""
        return dict(self._table["project"])

    @property
    def name(self) -> str:
        return str(self.project["name"])

    @property
    def version(self) -> str:
        return str(self.project["version"])

    @property
    def import_name(self) -> str:
        return self.name.replace("-", "_")

    @property
    def source(self) -> Path:
        return self.folder / "src" / self.import_name

    @property
    def tests(self) -> Path:
        return self.folder / "tests"

    @cached_property
    def dependencies(self) -> list[Requirement]:
        return [Requirement(line) for line in self.project["dependencies"]]

    @cached_property
    def extras(self) -> dict[str, list[Requirement]]:
        table = self.project.get("optional-dependencies", {})
        return {extra: [Requirement(line) for line in lines] for extra, lines in table.items()}

    @cached_property
    def test_dependencies(self) -> list[Requirement]:
        return [Requirement(line) for line in self._table["dependency-groups"]["test"]]

    @property
    def entry_points(self) -> set[tuple[str, str, str]]:
        """Every entry point as (group, name, value)."""
        groups = dict(self.project.get("entry-points", {}))
        groups["console_scripts"] = self.project.get("scripts", {})
        return {(group, n, v) for group, names in groups.items() for n, v in names.items()}


def read_package(folder: Path) -> Package:
    return Package(folder, tomllib.loads((folder / "pyproject.toml").read_text("utf-8")))


def packages(root: Path = ROOT) -> list[Package]:
    """The packages of the house, in the order of hatch.toml: a package knows only earlier ones."""
    settings = tomllib.loads((root / "hatch.toml").read_text("utf-8"))
    members = settings["envs"]["default"]["workspace"]["members"]
    return [read_package(root / member) for member in members]
