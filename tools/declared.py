"""Check that every package declares what it imports, and imports what it declares.

deptry looks at one project at a time, so this runs it once for each package.
"""

import subprocess
import sys

from house import ROOT, packages


def main() -> int:
    failed = []
    for package in packages():
        settings = package.folder / "pyproject.toml"
        command = [sys.executable, "-m", "deptry", "--no-ansi", "--config", str(settings)]
        command.append(str(package.folder / "src"))
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if run.returncode != 0:
            failed.append(package.name)
            print(run.stdout + run.stderr)
    print("declared dependencies:", f"wrong in {', '.join(failed)}" if failed else "exact")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
