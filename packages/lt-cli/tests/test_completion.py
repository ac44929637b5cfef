"""`lt completion`: in bash for real; for the other shells, that every option is in the script."""

import shutil
import subprocess
from typing import Any

import pytest

from lt_cli.command import OTHERS, RUNS
from lt_cli.completion import SHELLS, options_of


@pytest.mark.parametrize("shell", SHELLS)
def test_every_subcommand_and_option_is_in_it(shell: str, lt: Any) -> None:
    code, out, err = lt("completion", shell)
    assert (code, err) == (0, "")
    assert [name for name in [*RUNS, *OTHERS] if name not in out] == []
    options = options_of("fit")
    assert {"--config", "--model", "--trainer.max_epochs", "--ckpt_path"} <= set(options)
    assert [option for option in options if option[2:] not in out] == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["lt", "pre"], ["predict"]),
        (["lt", "fit", "--trainer.max_e"], ["--trainer.max_epochs"]),
        (["lt", "ckpt", "ve"], ["verify"]),
        (["lt", "completion", "z"], ["zsh"]),
        (["lt", "fit", "run"], []),
    ],
)
def test_bash_completes(typed: list[str], expected: list[str], lt: Any) -> None:
    script = lt("completion", "bash")[1]
    words = " ".join(f"'{word}'" for word in typed)
    script += f"\nCOMP_WORDS=({words})\nCOMP_CWORD={len(typed) - 1}\n_lt\n"
    script += 'printf "%s\\n" "${COMPREPLY[@]}"\n'
    run = subprocess.run(
        ["bash"], input=script, capture_output=True, text=True, check=True, timeout=30
    )
    assert (run.stdout.split(), run.stderr) == (expected, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_it(shell: str, lt: Any) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    script = lt("completion", shell)[1]
    run = subprocess.run(
        [shell, "-n"], input=script, capture_output=True, text=True, check=False, timeout=30
    )
    assert (run.returncode, run.stderr) == (0, "")
