"""Show that each package works installed alone, with what it declares and nothing else.

python tools/solo.py              run each package's own tests in an environment of its own
python tools/solo.py --imports    only install each wheel, import it and load its entry points
python tools/solo.py lt-loop ...  only these packages

Each environment is an empty virtual environment with the package's wheel, its siblings' wheels
and, as links to what the current environment holds, exactly the third-party packages declared by
them, and by them in turn. Nothing is downloaded and torch is not copied, so it takes seconds. A
package with extras has two runs: without any, where tests that need one skip themselves, and with
all of them that the current environment holds; it says which it does not.
"""

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from house import ROOT, Package, packages

# Run by the Python of the new environment: python -c IMPORTS lt-loop lt_loop
IMPORTS = """
import importlib, importlib.metadata, sys
distribution = importlib.metadata.distribution(sys.argv[1])
shipped = {file.name for file in distribution.files}
assert {"py.typed", "LICENSE"} <= shipped, f"the wheel lacks py.typed or LICENSE: {shipped}"
module = importlib.import_module(sys.argv[2])
missing = [name for name in module.__all__ if not hasattr(module, name)]
assert not missing, f"names in __all__ that are not there: {missing}"
for entry_point in distribution.entry_points:
    entry_point.load()
print(f"{len(module.__all__)} public names, {len(distribution.entry_points)} entry points")
"""


@dataclass(frozen=True)
class Case:
    """One package with some of its extras, to be installed alone."""

    package: Package
    extras: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.package.name}[{','.join(self.extras)}]" if self.extras else self.package.name


def cases(house: Iterable[Package]) -> list[Case]:
    found = []
    for package in house:
        found.append(Case(package))
        if held := tuple(extra for extra in package.extras if is_held(package, extra)):
            found.append(Case(package, held))
        if absent := [extra for extra in package.extras if extra not in held]:
            print(f"{package.name}: not here, so not tried: {', '.join(absent)}")
    return found


def is_held(package: Package, extra: str) -> bool:
    """Whether the current environment holds what an extra brings."""
    for requirement in package.extras[extra]:
        try:
            importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def build_wheels(house: Iterable[Package], folder: Path) -> dict[str, Path]:
    """Build each package's wheel; the file by package name."""
    wheels = {}
    for package in house:
        target = folder / package.name
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
        run = subprocess.run(
            command, cwd=package.folder, capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            sys.exit(f"{package.name} does not build:\n{run.stdout}{run.stderr}")
        (wheels[package.name],) = target.glob("*.whl")
    return wheels


def needed(requirements: Iterable[Requirement], found: set[tuple[str, str]]) -> set[str]:
    """Names of the distributions that satisfy the requirements, and theirs in turn.

    Args:
        requirements: where to start.
        found: pairs of distribution and extra already followed; grows.
    """
    for requirement in requirements:
        distribution = importlib.metadata.distribution(requirement.name)
        assert requirement.specifier.contains(distribution.version, prereleases=True), (
            f"{requirement} is declared, {distribution.version} is here"
        )
        for extra in {"", *requirement.extras}:
            if (requirement.name, extra) in found:
                continue
            found.add((requirement.name, extra))
            declared = map(Requirement, distribution.requires or [])
            needed([r for r in declared if applies(r, extra)], found)
    return {name for name, _ in found}


def applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def link(distribution: importlib.metadata.Distribution, site: Path) -> None:
    """Make an installed distribution importable from another environment."""
    tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
    for top in tops:
        target = site / top
        if not target.exists():  # two distributions may share a folder
            target.symlink_to(Path(str(distribution.locate_file(top))))


def install_alone(
    case: Case, extra_tools: list[Requirement], wheels: dict[str, Path], env: Path
) -> Path:
    """Make the environment of a case; return its Python."""
    venv.EnvBuilder(symlinks=os.name != "nt").create(env)
    layout = {"base": str(env), "platbase": str(env)}
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars=layout))
    itself = Requirement(case.package.name)
    itself.extras = set(case.extras)
    for name in needed([itself, *extra_tools], set()):
        if name in wheels:
            zipfile.ZipFile(wheels[name]).extractall(site)
        else:
            link(importlib.metadata.distribution(name), site)
    return Path(sysconfig.get_path("scripts", scheme="venv", vars=layout)) / "python"


def run_alone(command: list[str], folder: Path) -> tuple[bool, str]:
    environ = {"OMP_NUM_THREADS": "1"} | dict(os.environ)
    run = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return run.returncode == 0, run.stdout


def try_imports(case: Case, wheels: dict[str, Path], folder: Path) -> tuple[bool, str]:
    python = install_alone(case, [], wheels, folder / "env")
    # As in the test settings: torch says once that it has no numpy, which it does not need.
    warnings = ["-W", "error", "-W", "ignore:Failed to initialize NumPy:UserWarning"]
    script = [str(python), "-I", *warnings, "-c", IMPORTS]
    return run_alone([*script, case.package.name, case.package.import_name], folder)


def try_tests(case: Case, wheels: dict[str, Path], folder: Path) -> tuple[bool, str]:
    python = install_alone(case, case.package.test_dependencies, wheels, folder / "env")
    # What needs a GPU is the whole suite's business, which knows whether there is one.
    pytest = [str(python), "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not gpu"]
    # The house's settings, but nothing else of it: no root conftest, no tools on the path.
    pytest += ["-c", str(ROOT / "pyproject.toml"), "-o", "pythonpath="]
    pytest += ["--rootdir", str(case.package.folder), "--confcutdir", str(case.package.folder)]
    return run_alone([*pytest, str(case.package.tests)], folder)


def last_line(output: str) -> str:
    lines = output.strip().splitlines() or ["no output"]
    return re.sub(r"^=+ | =+$", "", lines[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description="Try each package installed alone.")
    parser.add_argument("names", nargs="*", metavar="package")
    parser.add_argument("--imports", action="store_true", help="import only, run no tests")
    arguments = parser.parse_args()
    house = packages()
    if unknown := set(arguments.names) - {package.name for package in house}:
        parser.error(f"no such package: {', '.join(sorted(unknown))}")

    chosen = [p for p in house if not arguments.names or p.name in arguments.names]
    attempt = try_imports if arguments.imports else try_tests
    summary, failures = [], 0
    with tempfile.TemporaryDirectory(prefix="solo-") as temporary:
        wheels = build_wheels(house, Path(temporary))
        for number, case in enumerate(cases(chosen)):
            folder = Path(temporary) / f"case-{number}"
            folder.mkdir()
            passed, output = attempt(case, wheels, folder)
            if not passed:
                failures += 1
                print(f"---- {case} ----\n{output}")
            verdict = "ok    " if passed else "FAILED"
            summary.append(f"{verdict} {case!s:<44} {last_line(output)}")
    print("\ninstalled alone:", *summary, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
