"""Show that the import contracts catch what they forbid.

A contract that checks the wrong copy, or a name that no longer exists, passes for ever. So this
copies the sources, plants one forbidden import at a time, and expects import-linter to report
exactly the contract that forbids it; and it expects the copy without a plant to pass.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from house import ROOT, packages


class Plant(NamedTuple):
    """Forbidden imports, by the module they are planted in, and the contract they break."""

    contract: str
    imports: dict[str, str]


PLANTS = [
    Plant("stdlib", {"lt_loop": "import torch"}),
    Plant("stdlib", {"lt_loop.planted": "import numpy.linalg"}),
    Plant("house", {"lt_loop": "import lt_callbacks"}),
    Plant("house", {"lt_module": "import lt_accel"}),
    Plant("house", {"lt_accel": "from lt_loop import ports"}),
    Plant("house", {"lt_data.planted": "def late():\n    import lt_module"}),
    Plant("house", {"lt_callbacks": "import lt"}),
    Plant("callbacks", {"lt_callbacks": "import lt_accel"}),
    Plant("checkpoint", {"lt_checkpoint": "import lt_data"}),
    Plant("cli", {"lt_cli": "import torch"}),
    Plant("face", {"lt_callbacks": "from lt_loop.solo import __name__"}),
    Plant("face", {"lt": "import lt_loop.limits"}),
    Plant("kits", {"lt_loop.conformance.planted": "import lt_loop.run"}),
    Plant("engine", {"lt_loop.ports": "import lt_loop.run"}),
    Plant("engine", {"lt_loop.trainer": "import lt_loop.conformance"}),
    Plant("engine", {"lt_loop.progress": "from lt_loop import limits"}),
    Plant(
        "acyclic",
        {
            "lt_loop.planted": "import lt_loop.planted_too",
            "lt_loop.planted_too": "import lt_loop.planted",
        },
    ),
]


def copy_house(target: Path) -> None:
    """Copy what import-linter reads, and no more."""
    for name in ("hatch.toml", "pyproject.toml"):
        shutil.copy(ROOT / name, target)
    for package in packages():
        folder = target / package.folder.relative_to(ROOT)
        shutil.copytree(package.folder / "src", folder / "src")
        shutil.copy(package.folder / "pyproject.toml", folder)


def plant(copy: Path, module: str, line: str) -> None:
    """Append a line to a module of the copy, which is made where there is none."""
    top, *rest = module.split(".")
    (package,) = (package for package in packages(copy) if package.import_name == top)
    path = package.source.joinpath(*rest or ["__init__"]).with_suffix(".py")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")


def lint(copy: Path, *options: str) -> subprocess.CompletedProcess[str]:
    sources = [str(package.folder / "src") for package in packages(copy)]
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo", *options],
        cwd=copy,
        env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sources)},
        capture_output=True,
        text=True,
        check=False,
    )


def complaint(imports: dict[str, str], *options: str, broken: int) -> str | None:
    """What import-linter says about a copy with these imports, unless it says what it should."""
    with tempfile.TemporaryDirectory(prefix="canary-") as temporary:
        copy = Path(temporary)
        copy_house(copy)
        for module, line in imports.items():
            plant(copy, module, line)
        run = lint(copy, *options)
        return None if f", {broken} broken." in run.stdout else run.stdout + run.stderr


def main() -> int:
    if said := complaint({}, broken=0):
        print(f"the copy without a plant must pass, but:\n{said}")
        return 1
    missed = 0
    for contract, imports in PLANTS:
        if said := complaint(imports, "--contract", contract, broken=1):
            missed += 1
            print(f"contract {contract!r} did not catch {imports}:\n{said}")
    print(f"canary: {len(PLANTS) - missed} of {len(PLANTS)} forbidden imports caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
