"""Reinstall the packages whose installed metadata no longer says what their pyproject.toml says.

An editable install shows every change of the source at once, but not a changed version, entry
point or dependency: those were copied when the package was installed, and hatch does not look
again. Takes a tenth of a second when there is nothing to do; needs no network.
"""

import json
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from house import Package, packages


def installed_from(installed: Distribution) -> str | None:
    """The folder, as a URL, that an editable install reads; None for any other install."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    return origin.get("url") if origin.get("dir_info", {}).get("editable") else None


def same_requirements(package: Package, installed: Distribution) -> bool:
    declared = {(str(r), "") for r in package.dependencies}
    declared |= {(str(r), extra) for extra, lines in package.extras.items() for r in lines}
    recorded = set()
    for line in installed.requires or []:
        requirement = Requirement(line)
        marker, requirement.marker = str(requirement.marker or ""), None
        recorded.add((str(requirement), marker.removeprefix('extra == "').removesuffix('"')))
    return declared == recorded


def is_stale(package: Package) -> bool:
    try:
        installed = distribution(package.name)
    except PackageNotFoundError:
        return True
    entry_points = {(e.group, e.name, e.value) for e in installed.entry_points}
    return (
        installed.version != package.version
        or installed_from(installed) != package.folder.as_uri()
        or entry_points != package.entry_points
        or not same_requirements(package, installed)
    )


def reinstall(folders: list[Path]) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command.append("--no-build-isolation")  # hatchling and editables are in this environment
    for folder in folders:
        command += ["--editable", str(folder)]
    subprocess.run(command, check=True)


def main() -> None:
    stale = [package for package in packages() if is_stale(package)]
    if stale:
        print("reinstalling", ", ".join(package.name for package in stale))
        reinstall([package.folder for package in stale])


if __name__ == "__main__":
    main()
