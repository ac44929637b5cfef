"""Every file in examples/ runs, as a user would run it, and shows what it is there to show."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


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
    (accuracy,) = numbers(r"val_accuracy=([\d.]+) is good enough", output)
    assert accuracy >= 0.97


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
    "digits.py": digits,
    "gan.py": gan,
    "lightning_1_0.py": lightning_1_0,
    "numpy_backend.py": numpy_backend,
    "own_loop.py": own_loop,
    "own_loop_accel.py": own_loop_accel,
    "transductive.py": transductive,
}


def test_of_every_example_it_is_said_what_it_shows() -> None:
    assert [example.name for example in EXAMPLES] == sorted(SHOWS)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_shows_what_it_says(example: Path, tmp_path: Path) -> None:
    """In an empty folder, where it may leave its logs, and without a warning on its stderr."""
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
    SHOWS[example.name](run.stdout)
