"""The bar in a notebook: by itself, and in a real kernel."""

import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from lt_callbacks.notebook import in_notebook

CELL = """
from lt_callbacks import TQDMProgressBar
from lt_loop import Trainer
from lt_loop.solo import DuckBackend

class Loss:
    def backward(self): pass

class Program:
    trainer = None  # the loop sets it
    def training_step(self, batch, batch_idx):
        self.trainer.log("loss", 0.5, prog_bar=True)
        if batch_idx == fails_at:
            raise RuntimeError("out of luck")
        return Loss()
    def validation_step(self, batch, batch_idx): pass
    def configure_optimizers(self): return Still()

class Still:
    def step(self): pass
    def zero_grad(self): pass

trainer = Trainer(backend=DuckBackend(), logger=False, enable_checkpointing=False,
    enable_model_summary=False, max_epochs=2, callbacks=[TQDMProgressBar(refresh_seconds=0)])
trainer.fit(Program(), [0] * 3, [0] * 2)
"""


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        (None, False),
        (SimpleNamespace(kernel=None), False),
        (SimpleNamespace(), False),  # a terminal
        (SimpleNamespace(kernel=object()), True),
    ],
)
def test_a_notebook_is_a_kernel(
    monkeypatch: pytest.MonkeyPatch, shell: Any, expected: bool
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr("lt_callbacks.notebook.find_spec", lambda name: object())

    assert in_notebook() is expected


def test_without_widgets_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr("lt_callbacks.notebook.find_spec", lambda name: None)

    assert in_notebook() is False


@pytest.fixture(scope="module")
def executed() -> Any:
    """What a notebook shows after a cell."""
    for library in ("tqdm", "ipywidgets", "ipykernel", "IPython"):
        pytest.importorskip(library)
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")

    def execute(*, fails_at: int = -1) -> tuple[list[str], dict[str, Any]]:
        cell = nbformat.v4.new_code_cell(f"fails_at = {fails_at}\n{CELL}")
        notebook = nbformat.v4.new_notebook(cells=[cell])
        client = nbclient.NotebookClient(
            notebook, timeout=100, allow_errors=True, store_widget_state=True
        )
        client.execute()
        shown = [
            output["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
            for output in notebook.cells[0].outputs
            if output["output_type"] == "display_data"
        ]
        outputs = notebook.cells[0].outputs
        assert not any(output["output_type"] == "stream" for output in outputs)
        errors = [output["evalue"] for output in outputs if output["output_type"] == "error"]
        assert errors == (["out of luck"] if fails_at >= 0 else [])
        states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
        return shown, {name: state["state"] for name, state in states.items()}

    return execute


def bars(shown: list[str], states: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Text before, style, and text behind each bar that is still visible."""
    found = []
    for model in shown:
        layout = states[states[model]["layout"].removeprefix("IPY_MODEL_")]
        if layout.get("display") == "none" or layout.get("visibility") == "hidden":
            continue
        before, bar, behind = (
            states[child.removeprefix("IPY_MODEL_")] for child in states[model]["children"]
        )
        texts = [part["value"].replace("\u2007", " ") for part in (before, behind)]
        found.append((texts[0], bar["bar_style"], texts[1]))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the client
def test_a_notebook_shows_a_widget_for_each_epoch(executed: Any) -> None:
    shown, states = executed()
    left = bars(shown, states)

    assert len(shown) == 1 + 2 * 2  # the sanity check, and a validation in each epoch, which go
    assert [(before, style) for before, style, _ in left] == [
        ("Epoch 1/2: 100%", "success"),
        ("Epoch 2/2: 100%", "success"),
    ]
    assert all(re.search(r"3/3 \[.*it/s, loss=0\.500\]", behind) for _, _, behind in left)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_and_a_red_one_where_an_epoch_failed(executed: Any) -> None:
    shown, states = executed(fails_at=2)

    assert [style for _, style, _ in bars(shown, states)] == ["danger"]
