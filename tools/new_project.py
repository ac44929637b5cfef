"""Show that a new project works from wheels, in an environment with nothing else in it.

python tools/new_project.py

Builds all wheels, makes an empty virtual environment with them and what they declare (as
tools/solo.py does: nothing is downloaded), and runs in it what the README of a new project says:
lt new, lt fit, lt test on the best checkpoint, pytest, and lt doctor.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

from house import packages
from solo import Case, build_wheels, install_alone

SCRIPT = """\
#!{python}
import sys
from lt_cli.command import main
sys.exit(main())
"""

STEPS = [
    ["lt", "new", "demo"],
    ["lt", "fit", "--config", "config.yaml", "--trainer.max_epochs", "4"],
    ["lt", "test", "--config", "config.yaml", "--ckpt_path", "best"],
    ["lt", "ckpt", "verify", "checkpoints"],
    ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
    ["lt", "doctor"],
]


def console_script(python: Path) -> None:
    """Write ``lt`` where an installer puts it."""
    script = python.parent / "lt"
    script.write_text(SCRIPT.format(python=python), "utf-8")
    script.chmod(0o755)


def main() -> int:
    house = packages()
    cli = next(package for package in house if package.name == "lt-cli")
    beside = ["lt", "lt-checkpoint", "scikit-learn", "pytest"]
    with tempfile.TemporaryDirectory(prefix="new-project-") as temporary:
        folder = Path(temporary)
        wheels = build_wheels(house, folder)
        requirements = [Requirement(name) for name in beside]
        python = install_alone(Case(cli), requirements, wheels, folder / "env")
        console_script(python)
        environ = {"OMP_NUM_THREADS": "1"} | dict(os.environ)
        environ["PATH"] = f"{python.parent}{os.pathsep}{environ['PATH']}"
        environ.pop("PYTHONPATH", None)
        for step in STEPS:
            where = folder / "demo" if (folder / "demo").is_dir() else folder
            print("$", *step, flush=True)
            code = subprocess.run(step, cwd=where, env=environ, check=False, timeout=300).returncode
            if code != 0:
                print(f"FAILED: {' '.join(step)} (exit status {code})")
                return 1
    print("a new project works from wheels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
