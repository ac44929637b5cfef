"""The command line with the real packages: a new project trains, tests itself and is resumed."""

import subprocess
import sys
from pathlib import Path

import pytest

LT = [sys.executable, "-m", "lt_cli"]

# Each of these imports torch in several processes, on machines that may have other things to do.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    run(*LT, "new", "demo", cwd=tmp_path)
    return tmp_path / "demo"


def test_a_new_project_trains(demo: Path) -> None:
    """Without checkpoints: the project as it is, but for its one callback."""
    config = demo / "config.yaml"
    text, _, callbacks = config.read_text().partition("  callbacks:\n")
    assert "ModelCheckpoint" in callbacks
    config.write_text(text)
    words = ["--config", "config.yaml", "--trainer.max_epochs", "4"]
    words += ["--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "3"]
    words += ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val_loss"]
    done = run(*LT, "fit", *words, "--model.width", "32", cwd=demo)
    assert "fit: max_epochs=4 reached, after 76 steps\n" in done.stdout
    (saved,) = demo.glob("lightning_logs/version_0/config.yaml")
    assert "class_path: torch.optim.AdamW" in saved.read_text()
    assert "width: 32" in saved.read_text()


def test_the_tests_of_a_new_project_pass(demo: Path) -> None:
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=demo)
    assert "2 passed" in done.stdout


def test_a_new_project_is_fitted_and_its_best_checkpoint_tested(demo: Path) -> None:
    run(*LT, "fit", "--config", "config.yaml", "--trainer.max_epochs", "4", cwd=demo)
    done = run(*LT, "test", "--config", "config.yaml", "--ckpt_path", "best", cwd=demo)
    (line,) = [line for line in done.stdout.splitlines() if "test_accuracy" in line]
    accuracy = float(line.split()[-1].strip("│| "))
    assert accuracy > 0.8
    listed = run(*LT, "ckpt", "list", "checkpoints", cwd=demo)
    assert "val_loss=" in listed.stdout
    assert "step=76" in listed.stdout


def test_checkpoints_at_a_url_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that lives as long as this process, so the command runs in it; and ``file://``."""
    fsspec = pytest.importorskip("fsspec")
    from lt_checkpoint import save
    from lt_cli.command import main

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "store", {})
    for url in ("memory://bucket/run", f"file://{tmp_path}/run"):
        save({"global_step": 3, "state_dict": {}, "optimizer_states": []}, f"{url}/3.ckpt")
        assert main(["ckpt", "list", url]) == 0
        assert capsys.readouterr().out.split()[4:7] == ["3.ckpt", "3", "full"]
        assert main(["ckpt", "verify", url]) == 0
        assert capsys.readouterr().out == f"whole   {url}/3.ckpt\n"
        assert main(["ckpt", "show", f"{url}/3.ckpt"]) == 0
        assert "global_step: 3" in capsys.readouterr().out
        target = tmp_path / f"{url.partition(':')[0]}.ckpt"
        assert main(["ckpt", "export", f"{url}/last.ckpt", str(target)]) == 0
        assert target.is_file()
    assert (tmp_path / "run" / "3.ckpt" / "manifest.json").is_file(), "a folder as any other"
