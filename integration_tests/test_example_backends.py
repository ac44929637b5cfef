"""Backends of a third party: packages of their own, found by name, held by the kit."""

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lt
from lt.callbacks import ModelCheckpoint

ROOT = Path(__file__).parent.parent
BACKENDS = ROOT / "examples" / "backends"
NEEDS = {"numpy_backend": "numpy", "jax_backend": "jax"}


def test_of_every_example_it_is_known_what_it_needs() -> None:
    assert {path.parent.name for path in BACKENDS.glob("*/pyproject.toml")} == NEEDS.keys()


def test_a_backend_that_is_not_installed_is_asked_for_by_name() -> None:
    assert "numpy" not in metadata.entry_points(group="lt.backends").names
    with pytest.raises(LookupError, match=r"needs 'numpy' among the entry points of 'lt.backends'"):
        lt.Trainer(backend="numpy")


WITHOUT_A_WORD = """
import sys
from lt_loop import Trainer
trainer = Trainer(backend="numpy", logger=False, enable_progress_bar=False)
print(trainer.reasons["device"], "lt_numpy" in sys.modules, "torch" in sys.modules)
Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")  # lt-accel, as ever
try:
    Trainer(backend="numpy", accelerator="gpu")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_an_installed_wheel_is_found_by_name(install_example: Callable[[str], Path]) -> None:
    """And reads the hardware words of the Trainer, without a line about it in the house."""
    site = install_example("numpy_backend")
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_WORD],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "cpu: NumPy knows no other True False",
        "NumPy computes on one CPU, in double precision. Received accelerator='gpu'. Use 'auto' or "
        "'cpu'.",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_an_example_keeps_the_promises_of_the_port(
    name: str, install_example: Callable[[str], Path]
) -> None:
    """Its own tests, the kit among them, against the wheel."""
    pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is in no environment but its own")
    settings = BACKENDS / name / "pyproject.toml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(settings)]
    run = subprocess.run(
        [*command, str(BACKENDS / name)],
        env={**os.environ, "PYTHONPATH": str(install_example(name))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed, run.stdout
    assert int(passed[1]) > 30, run.stdout
    assert "skipped" not in run.stdout, run.stdout


def test_what_a_backend_captures_survives_in_the_store_of_the_house(
    install_example: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on from a checkpoint in a folder comes to the bits of one that never stopped.

    The store knows nothing of NumPy's backend, which knows nothing of stores.
    """
    monkeypatch.syspath_prepend(str(install_example("numpy_backend")))
    lt_numpy = importlib.import_module("lt_numpy")

    class Line:
        trainer: Any = None

        def __init__(self) -> None:
            self.w = lt_numpy.Parameter(np.zeros(3))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            (x,) = batch
            error = x @ self.w.value - 1
            return lt_numpy.Loss((error**2).mean(), [(self.w, x.T @ error / len(x))])

        def configure_optimizers(self) -> Any:
            return lt_numpy.SGD([self.w], lr=0.01)

    def fit(folder: str, *, max_epochs: int, ckpt_path: Any = None) -> np.ndarray:
        line = Line()
        trainer = lt.Trainer(
            backend=lt_numpy.NumpyBackend(),
            max_epochs=max_epochs,
            callbacks=ModelCheckpoint(tmp_path / folder, filename="{epoch}"),
            logger=False,
            enable_progress_bar=False,
        )
        trainer.fit(line, batches, ckpt_path=ckpt_path)
        return line.w.value

    rng = np.random.default_rng(0)
    batches = [(rows,) for rows in rng.normal(size=(6, 4, 3))]
    fit("stopped", max_epochs=2)
    resumed = fit("stopped", max_epochs=4, ckpt_path=tmp_path / "stopped" / "epoch=1.ckpt")
    whole = fit("whole", max_epochs=4)

    assert np.array_equal(resumed, whole)
    assert not np.array_equal(whole, np.zeros(3))


def definitions(source: str) -> dict[str, str]:
    """Return the classes and functions at the top of a file, without their docstrings."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for part in ast.walk(node):
                if isinstance(part, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(part):
                    part.body = part.body[1:] or [ast.Pass()]
            found[node.name] = ast.unparse(node)
    return found


def test_the_page_writes_the_backend_of_the_example() -> None:
    page = (ROOT / "docs" / "write-a-backend.md").read_text("utf-8")
    fences = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    on_the_page = definitions("\n".join(fences))
    example = definitions((BACKENDS / "numpy_backend" / "lt_numpy.py").read_text("utf-8"))

    assert example.items() <= on_the_page.items()
