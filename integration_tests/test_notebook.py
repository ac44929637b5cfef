"""Runs in two processes, started from the cells of a real notebook kernel."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lt

jupyter = pytest.importorskip("jupyter_client", reason="needs a notebook's kernel (ipykernel)")
pytest.importorskip("ipykernel")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]

X = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(16, 3)
DATA = TensorDataset(X, X.sum(1, keepdim=True))

RESEARCH = """
import os, sys, time
import torch, lt
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Net(lt.LTModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        loss = nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def test_step(self, batch, batch_idx):
        self.log("seen", float(len(batch[0])), reduce_fx="sum", sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)

x = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(16, 3)
data = TensorDataset(x, x.sum(1, keepdim=True))

def trainer(**words):
    return lt.Trainer(accelerator="cpu", devices=2, strategy="ddp", precision="64-true",
        logger=False, enable_checkpointing=False, **words)
"""


class Notebook:
    """A kernel, and what the cells that it has run have shown."""

    def __init__(self, folder: Path) -> None:
        self.manager = jupyter.KernelManager(kernel_name="python3")
        self.log = folder / "kernel.log"  # what it says elsewhere than in cells
        with self.log.open("w") as log:
            self.manager.start_kernel(cwd=str(folder), stdout=log, stderr=log)
        self.displayed: list[dict[str, Any]] = []  # by the last cell
        self.widgets: dict[str, dict[str, Any]] = {}  # by name, with all that was told of them
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def begin(self, code: str) -> None:
        """Run a cell, without waiting for it."""
        self.client.execute(code)

    def shown(self) -> str:
        """Wait for the end of the cell; return all that it wrote, a traceback included."""
        parts = []
        self.displayed = []
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                parts.append(content["text"])
            elif kind == "display_data":
                self.displayed.append(content["data"])
            elif kind in ("comm_open", "comm_msg"):
                known = self.widgets.setdefault(content["comm_id"], {})
                known.update(content["data"].get("state", {}))
            elif kind == "error":
                parts.append(f"{content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(parts)

    def run(self, code: str) -> str:
        """Run a cell and return what it showed."""
        self.begin(code)
        return self.shown()

    def children(self) -> list[psutil.Process]:
        """What the kernel has started and that still lives."""
        kernel = psutil.Process(self.manager.provisioner.pid)
        return [one for one in kernel.children() if one.status() != psutil.STATUS_ZOMBIE]

    def nothing_went_past_it(self) -> bool:
        """Whether no process has tried to use what belongs to the kernel alone."""
        said = self.log.read_text()
        return "from fork" not in said and "Error" not in said

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    opened = Notebook(tmp_path)
    try:
        assert opened.run(RESEARCH) == ""
        yield opened
    finally:
        opened.close()


class Net(lt.LTModule):
    """The same, in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def test_cells_train_and_test_in_two_processes(notebook: Notebook, tmp_path: Path) -> None:
    shown = notebook.run(
        "lt.seed_everything(1)\n"
        "model = Net()\n"
        "one = trainer(max_epochs=3)\n"
        "result = one.fit(model, DataLoader(data, 2))\n"
        "print('HERE', result.reason, one.global_step, float(one.callback_metrics['loss']) < 9)\n"
        "torch.save(model.state_dict(), 'weights.pt')"
    )
    assert "HERE max_epochs=3 reached 12 True" in shown
    assert [shown.count(f"Epoch {number}/3") for number in (1, 2, 3)] == [1, 1, 1], shown
    again = notebook.run("(table,) = one.test(model, DataLoader(data, 2)); print(table)")
    assert "{'seen': 16.0}" in again
    assert notebook.children() == []

    lt.seed_everything(1)
    alone = Net()
    trainer = lt.Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(alone, DataLoader(DATA, 4))
    for name, value in torch.load(tmp_path / "weights.pt").items():
        torch.testing.assert_close(value, alone.state_dict()[name], rtol=1e-12, atol=1e-14)


def test_an_exception_of_a_rank_comes_to_the_cell_and_the_kernel_lives(
    notebook: Notebook,
) -> None:
    shown = notebook.run(
        "class Bad(Net):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        if self.global_rank == 1:\n"
        "            raise ZeroDivisionError('of rank 1')\n"
        "        return super().training_step(batch, batch_idx)\n"
        "trainer(max_epochs=3).fit(Bad(), DataLoader(data, 2))"
    )
    assert "ZeroDivisionError: of rank 1" in shown
    assert notebook.children() == []
    assert notebook.run(
        "print('alive', trainer(max_steps=1).fit(Net(), data_loader := "
        "DataLoader(data, 2)).progress.steps)"
    ).endswith("alive 1\n")


def test_what_ranks_show_appears_once(notebook: Notebook) -> None:
    shown = notebook.run(
        "from IPython.display import HTML, display\n"
        "class Shows(Net):\n"
        "    def on_train_start(self):\n"
        "        if self.global_rank == 0:\n"
        "            display(HTML('<b>shown</b>'))\n"
        "    def on_train_end(self):\n"
        "        print(f'by {self.global_rank}\\n', end='')\n"
        "print('before')\n"
        "trainer(max_epochs=1, enable_progress_bar=False).fit(Shows(), DataLoader(data, 2));"
    )
    assert sorted(shown.splitlines()) == ["before", "by 0", "by 1"]
    assert [data["text/html"] for data in notebook.displayed] == ["<b>shown</b>"]
    assert notebook.nothing_went_past_it()


def test_a_rank_that_asks_a_question_does_not_wait_for_the_answer(notebook: Notebook) -> None:
    shown = notebook.run(
        "class Asks(Net):\n"
        "    def on_train_start(self):\n"
        "        input('go on?')\n"
        "trainer(max_epochs=1).fit(Asks(), DataLoader(data, 2))"
    )
    assert "EOFError: A rank is a process of its own" in shown
    assert notebook.nothing_went_past_it()


@pytest.mark.filterwarnings("default")  # those of widgets
def test_two_processes_draw_one_widget_for_each_epoch(notebook: Notebook) -> None:
    pytest.importorskip("ipywidgets")
    assert notebook.run("trainer(max_epochs=2).fit(Net(), DataLoader(data, 2));") == ""

    bars = [data["application/vnd.jupyter.widget-view+json"] for data in notebook.displayed]
    drawn = []
    for bar in bars:
        parts = [
            notebook.widgets[name.removeprefix("IPY_MODEL_")]
            for name in notebook.widgets[bar["model_id"]]["children"]
        ]
        drawn.append((parts[0]["value"].replace("\u2007", " "), parts[1]["value"]))
    assert drawn == [("Epoch 1/2: 100%", 4.0), ("Epoch 2/2: 100%", 4.0)]
    assert notebook.nothing_went_past_it()


def until(what: Callable[[], bool]) -> None:
    """Wait for something, for half a minute at most."""
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


SLOW = """
class Slow(Net):
    def training_step(self, batch, batch_idx):
        open(f"step-{self.global_rank}", "w").close()
        wait()
        return super().training_step(batch, batch_idx)

    def teardown(self, stage):
        state = self.trainer.capture()  # refused where a step was cut short
        torch.save(state["global_step"], f"end-{self.global_rank}")

endless = trainer(max_epochs=-1, enable_progress_bar=False)
endless.fit(Slow(), DataLoader(data, 2))
"""


def both_are_in_a_step(folder: Path) -> bool:
    return (folder / "step-0").exists() and (folder / "step-1").exists()


def test_a_cell_that_is_interrupted_stops_at_a_safe_point_and_leaves_no_process(
    notebook: Notebook, tmp_path: Path
) -> None:
    notebook.begin(f"def wait(): time.sleep(0.05)\n{SLOW}")
    until(lambda: both_are_in_a_step(tmp_path))
    notebook.manager.interrupt_kernel()

    assert "KeyboardInterrupt" in notebook.shown()
    assert notebook.children() == []
    steps = [torch.load(tmp_path / f"end-{rank}") for rank in (0, 1)]
    assert steps[0] == steps[1] > 0
    assert notebook.nothing_went_past_it()
    assert "alive 2" in notebook.run("print('alive', 1 + 1)")


def test_a_cell_whose_ranks_do_not_listen_ends_at_the_third_interrupt(
    notebook: Notebook, tmp_path: Path
) -> None:
    notebook.begin(f"def wait(): sum(range(10**15))\n{SLOW}")  # never back to Python
    until(lambda: both_are_in_a_step(tmp_path))
    for _ in range(3):
        time.sleep(0.5)
        notebook.manager.interrupt_kernel()

    assert "KeyboardInterrupt" in notebook.shown()
    assert notebook.children() == []
    assert "alive 2" in notebook.run("print('alive', 1 + 1)")
