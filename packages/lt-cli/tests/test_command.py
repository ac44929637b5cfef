"""What `lt` does: the runs, several configurations, what it imports, what it writes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lt_cli
from lt_cli.command import OTHERS, RUNS


def fitted(weight: float, goal: float, lr: float, steps: int) -> float:
    """The same descent by hand."""
    for _ in range(steps):
        weight -= lr * 2 * (weight - goal)
    return weight


def made(name: str) -> Any:
    import toy

    return next(one for one in reversed(toy.seen) if type(one).__name__ == name)


def test_fit_trains_what_the_configuration_names(project: Path, lt: Any) -> None:
    code, out, err = lt("fit", "--config", "run.yaml")
    assert (code, err) == (0, "")
    assert out == "fit: max_epochs=2 reached, after 8 steps\n"
    assert made("Line").weight == pytest.approx(fitted(3.0, 1.0, 0.1, 8))


def test_words_win_over_files_and_later_files_over_earlier_ones(project: Path, lt: Any) -> None:
    Path("more.yaml").write_text("trainer: {max_epochs: 5}\nmodel: {init_args: {goal: 7.0}}\n")
    words = ["--config", "run.yaml", "--config", "more.yaml", "--model.weight", "5"]
    code, out, _ = lt("fit", *words)
    assert (code, out) == (0, "fit: max_epochs=5 reached, after 20 steps\n")
    assert made("Line").weight == pytest.approx(fitted(5.0, 7.0, 0.1, 20))


@pytest.mark.parametrize(
    ("name", "trace"), [("validate", ["validated"] * 4), ("test", ["tested"] * 4), ("predict", [])]
)
def test_one_configuration_serves_every_subcommand(
    name: str, trace: list[str], project: Path, lt: Any
) -> None:
    code, _, err = lt(name, "--config", "run.yaml")
    assert (code, err) == (0, "")
    import toy

    assert [one for one in toy.seen if isinstance(one, str)] == trace


def test_plan_shows_the_run_and_does_nothing(project: Path, lt: Any) -> None:
    code, out, err = lt("plan", "--config", "run.yaml", "--ckpt_path", "last")
    assert (code, err) == (0, "")
    assert out.startswith("fit of Line")
    assert "DuckBackend" in out
    assert made("Line").weight == 3.0
    assert lt("plan", "--config", "run.yaml", "--fn", "test")[1].startswith("test of Line")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--trainer.callbacks", "toy.Patience", "--trainer.callbacks.patience", "3"], None),
        (
            [
                "--trainer.callbacks+=toy.Patience",
                "--trainer.callbacks.patience=3",
                "--trainer.callbacks.names=[a, b]",
            ],
            ["a", "b"],
        ),
    ],
)
def test_callbacks_are_given_by_words_too(
    words: list[str], names: Any, project: Path, lt: Any
) -> None:
    assert lt("fit", "--config", "run.yaml", *words)[0] == 0
    assert (made("Patience").count, made("Patience").names) == (8, names)


def test_the_optimizer_and_its_schedule_are_those_of_the_configuration(
    project: Path, lt: Any
) -> None:
    words = ["--model", "toy.Undecided", "--model.weight", "3"]
    words += ["--optimizer", "toy.Momentum", "--optimizer.lr", "0.25"]
    assert lt("fit", "--config", "run.yaml", *words)[0] == 0
    assert made("Undecided").weight == pytest.approx(fitted(3.0, 1.0, 0.25, 8))
    words += ["--lr_scheduler", "toy.Halving", "--lr_scheduler_config.interval", "step"]
    assert lt("fit", "--config", "run.yaml", *words)[0] == 0
    by_hand = 3.0
    for step in range(8):
        by_hand = fitted(by_hand, 1.0, 0.25 * 0.5**step, 1)
    assert made("Undecided").weight == pytest.approx(by_hand)


def test_a_schedule_alone_is_refused(project: Path, lt: Any) -> None:
    code, _, err = lt("fit", "--config", "run.yaml", "--lr_scheduler", "toy.Halving")
    assert (code, err.count("\n")) == (2, 1)
    assert "Give --optimizer too" in err


def test_the_configuration_is_saved_with_the_run_and_runs_again(project: Path, lt: Any) -> None:
    logger = ["--trainer.logger", "toy.Lines", "--trainer.logger.log_dir"]
    words = ["--config", "run.yaml", *logger, "logs"]
    assert lt("fit", *words, "--seed_everything", "true")[0] == 0
    first = made("Line").weight
    saved = Path("logs/config.yaml")
    assert "seed_everything: true" not in saved.read_text()
    assert lt("fit", "--config", str(saved), "--trainer.logger.log_dir", "again")[0] == 0
    assert made("Line").weight == first
    assert Path("again/config.yaml").read_text().replace("again", "logs") == saved.read_text()


def test_a_saved_configuration_is_not_overwritten(project: Path, lt: Any) -> None:
    words = ["--trainer.logger", "toy.Lines", "--trainer.logger.log_dir", "logs"]
    assert lt("fit", "--config", "run.yaml", *words)[0] == 0
    before = Path("logs/config.yaml").read_text()
    code, _, err = lt("fit", "--config", "run.yaml", "--model.weight", "9", *words)
    assert (code, err.count("\n")) == (1, 1)
    assert "which is there already" in err
    assert Path("logs/config.yaml").read_text() == before


def test_a_run_without_a_folder_writes_nothing(project: Path, lt: Any) -> None:
    before = sorted(project.iterdir())
    assert lt("fit", "--config", "run.yaml")[0] == 0
    assert [path for path in sorted(project.iterdir()) if path.name != "__pycache__"] == before
    assert lt("fit", "--config", "run.yaml", "--trainer.default_root_dir", "here")[0] == 0
    assert Path("here/config.yaml").is_file()


def test_print_config_prints_one_that_runs(project: Path, lt: Any) -> None:
    code, out, _ = lt("fit", "--config", "run.yaml", "--model.weight", "5", "--print_config")
    assert code == 0
    Path("printed.yaml").write_text(out)
    assert lt("fit", "--config", "printed.yaml")[0] == 0
    assert made("Line").weight == pytest.approx(fitted(5.0, 1.0, 0.1, 8))


def test_the_environment_is_read_only_when_asked(
    project: Path, lt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LT_FIT__TRAINER__MAX_EPOCHS", "3")
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")  # jsonargparse's own switch
    Path("plain.yaml").write_text(Path("run.yaml").read_text().replace("  max_epochs: 2\n", ""))
    words = ["fit", "--config", "plain.yaml", "--trainer.max_steps", "30"]
    assert "max_steps=30" in lt(*words)[1]
    assert "max_epochs=3" in lt("--env", *words)[1]


def test_the_seed_is_set_before_anything_is_made(project: Path, lt: Any) -> None:
    Path("drawn.py").write_text(
        "import random\nfrom toy import Line\n\nclass Drawn(Line):\n"
        "    def __init__(self):\n        super().__init__(weight=random.random())\n"
    )
    import random

    words = ["--config", "run.yaml", "--model", "drawn.Drawn", "--trainer.max_epochs", "0"]
    lt("fit", *words, "--seed_everything", "7")
    random.seed(7)
    assert made("Drawn").weight == random.random()
    state = random.getstate()
    lt("fit", *words, "--seed_everything", "false")
    random.setstate(state)
    assert made("Drawn").weight == random.random()


FRESH = """
import sys
from lt_cli.command import main
try:
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
heavy = {{"torch", "numpy", "lt_accel", "lt_data", "lt_module", "lt_callbacks", "tensorboard"}}
print("IMPORTED", sorted(heavy & set(sys.modules)))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [["-h"], ["--version"], ["fit", "-h"], ["plan", "-h"], ["ckpt", "-h"], ["new", "-h"]],
)
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", FRESH.format(), *words]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "IMPORTED []"
    assert len(run.stdout.splitlines()) > 1


def test_help_of_a_module_shows_its_arguments(project: Path, lt: Any) -> None:
    code, out, _ = lt("fit", "--model.help", "toy.Line")
    assert code == 0
    assert "where it starts." in out


def test_a_configuration_imports_what_it_names_and_nothing_else(project: Path, lt: Any) -> None:
    for name in ("named", "unnamed"):
        (project / f"{name}.py").write_text(
            "from toy import Line\n\nclass Model(Line):\n    pass\n"
        )
    assert lt("fit", "--config", "run.yaml", "--model", "named.Model")[0] == 0
    assert "named" in sys.modules
    assert "unnamed" not in sys.modules


def test_help_lists_every_subcommand(lt: Any) -> None:
    code, out, err = lt("-h")
    assert (code, err) == (0, "")
    assert [name for name in [*RUNS, *OTHERS] if f"\n  {name} " not in out] == []
    assert lt() == (0, out, "")


def test_lightnings_names_are_other_names() -> None:
    assert lt_cli.LightningCLI is lt_cli.LTCLI


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", [["-h"], ["plan", "--config", "run.yaml"]], ids=["help", "plan"])
def test_who_reads_may_stop_reading(project: Path, words: list[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "lt_cli", *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
