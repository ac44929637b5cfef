"""Every file in examples/ runs, as a user would run it."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    """In an empty folder, where it may leave its logs, and with warnings on its stderr."""
    run = subprocess.run(
        [sys.executable, example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert "Warning" not in run.stderr, run.stderr
    assert run.stdout.strip(), "an example says what it has shown"
