"""User files and the programs of the faults are run by tests; they are no modules with doctests.

The backends in examples/backends are packages of their own, which the environment does not hold:
:func:`install_example` installs one of them for a single test.
"""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

collect_ignore_glob = ["user_files/*", "faults/programs/*", "objects/programs/*"]

BACKENDS = Path(__file__).parent.parent / "examples" / "backends"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole-faults",
        action="store_true",
        help="inject every fault of integration_tests/faults as often as was planned, which takes "
        "many minutes, rather than a few times",
    )


@pytest.fixture
def install_example(tmp_path: Path) -> Callable[[str], Path]:
    """Build the wheel of a package in examples/backends and unpack it into a folder of the test.

    A process with that folder in PYTHONPATH has the package installed; no other one has.
    """

    def install(name: str) -> Path:
        wheels, site = tmp_path / "wheels", tmp_path / "site"
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
        build = subprocess.run(
            command, cwd=BACKENDS / name, capture_output=True, text=True, timeout=60, check=False
        )
        assert build.returncode == 0, build.stderr
        (wheel,) = wheels.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(site)
        return site

    return install
