"""Every file in examples/ runs, as a user would run it, and shows what it is there to show."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted([*FOLDER.glob("*.py"), *FOLDER.glob("backends/*/train.py")])


def numbers(pattern: str, output: str) -> list[float]:
    """Return the groups of the one place where a pattern stands."""
    places = list(re.finditer(pattern, output))
    assert len(places) == 1, f"{pattern!r} stands in {len(places)} places of:\n{output}"
    return [float(group) for group in places[0].groups()]


def digits(output: str) -> None:
    (accuracy,) = numbers(r"Test accuracy: ([\d.]+)", output)
    assert accuracy > 0.95


def gan(output: str) -> None:
    near_before, _ = numbers(r"\nuntrained: ([\d.]+)% near the circle, (\d+) of 24", "\n" + output)
    near, arcs = numbers(r"\ntrained: ([\d.]+)% near the circle, (\d+) of 24", "\n" + output)
    assert near_before < 20
    assert near > 80
    assert arcs >= 22  # it has not collapsed to a part of the circle


def lightning_1_0(output: str) -> None:
    said = [re.split("[:,]", line)[0] for line in output.splitlines()]
    assert said[:16] == [
        "prepare_data",
        "configure_optimizers",
        "val_dataloader",
        "validation_epoch_end",  # the sanity check
        "train_dataloader",
        *["validation_epoch_end"] * 8,
        "prepare_data",
        "test_dataloader",
        "test_epoch_end",
    ]
    assert output.count("sanity check") == 1
    (accuracy,) = numbers(r"Test accuracy: ([\d.]+)", output)
    assert accuracy > 0.85


def numpy_backend(output: str) -> None:
    assert "backend cpu: NumPy knows no other" in output
    assert "val_loss has not improved in 3 checks" in output
    assert "torch imported: False" in output
    rows, accuracy = numbers(r"(\d+) validations in metrics.csv, the last: ([\d.]+)", output)
    (epochs,) = numbers(r"After (\d+) epochs", output)
    assert rows == epochs < 100
    assert accuracy > 0.95


def jax_backend(output: str) -> None:
    assert "JAX's first device" in output
    assert "val_loss has not improved in 5 checks" in output
    assert "torch imported: False" in output
    rows, _ = numbers(r"(\d+) validations in metrics.csv, the last: ([\d.]+)", output)
    (epochs,) = numbers(r"After (\d+) epochs", output)
    assert rows == epochs < 200
    (accuracy,) = numbers(r"test accuracy: ([\d.]+)", output)
    assert accuracy > 0.9


def own_loop(output: str) -> None:
    assert "left in epoch 8 after 2 of its 6 batches" in output
    assert "went on to step 120: max_epochs=20 reached" in output
    assert "the same bits as a run that never stopped: True" in output


def own_loop_accel(output: str) -> None:
    lines = re.findall(r"(\S+) +(\w+) +([\d.]+)% right, weights (\S+) apart", output)
    assert len(lines) == 13
    assert len({precision for precision, *_ in lines}) == 6
    assert {strategy for _, strategy, *_ in lines} == {"single_device", "ddp", "fsdp"}
    assert all(float(right) > 90 for *_, right, _ in lines)


def transductive(output: str) -> None:
    with_links, without = map(float, re.findall(r"test accuracy: ([\d.]+)", output))
    assert with_links > 0.85
    assert with_links > without + 0.15  # it has learnt from the graph


SHOWS: dict[str, Callable[[str], None]] = {
    "backends/jax_backend/train.py": jax_backend,
    "backends/numpy_backend/train.py": numpy_backend,
    "digits.py": digits,
    "gan.py": gan,
    "lightning_1_0.py": lightning_1_0,
    "own_loop.py": own_loop,
    "own_loop_accel.py": own_loop_accel,
    "transductive.py": transductive,
}


def name_of(example: Path) -> str:
    return example.relative_to(FOLDER).as_posix()


def test_of_every_example_it_is_said_what_it_shows() -> None:
    assert sorted(map(name_of, EXAMPLES)) == sorted(SHOWS)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_example_shows_what_it_says(
    example: Path, tmp_path: Path, install_example: Callable[[str], Path]
) -> None:
    """In an empty folder, where it may leave its logs, and without a warning on its stderr."""
    environ = dict(os.environ)
    if example.parent.parent.name == "backends":
        if example.parent.name == "jax_backend":
            pytest.importorskip("jax", reason="jax is in no environment but its own: hatch run jax")
        environ["PYTHONPATH"] = str(install_example(example.parent.name))
    (tmp_path / "here").mkdir()
    run = subprocess.run(
        [sys.executable, example],
        cwd=tmp_path / "here",
        env=environ,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert "Warning" not in run.stderr, run.stderr
    SHOWS[name_of(example)](run.stdout)
