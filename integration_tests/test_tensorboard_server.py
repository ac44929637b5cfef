"""What TensorBoard's own server and page show of a run, beside the CSV file of the same run."""

import csv
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lt
from lt.loggers import CSVLogger, TensorBoardLogger

pytestmark = pytest.mark.slow
Points = list[tuple[int, float]]
SECONDS = 60  # of patience with a server or a browser that starts on a busy machine


class Model(lt.LTModule):
    def __init__(self, width: int = 8, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
        self.example_input_array = torch.ones(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def loss(self, batch: Tensor) -> Tensor:
        return (self(batch) - batch.prod(dim=1, keepdim=True)).square().mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("loss/train", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("loss/validation", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def trained(folder: Path, name: str, *, lr: float, interrupted: bool = False) -> CSVLogger:
    """Train with both loggers; where it is interrupted, go on from a state before that."""
    lt.seed_everything(1)
    batches = list(torch.rand(20, 16, 2))

    def trainer() -> lt.Trainer:
        board = TensorBoardLogger(folder, name, version=0, log_graph=True, on_error="raise")
        return lt.Trainer(
            accelerator="cpu",
            max_epochs=5,
            logger=[board, CSVLogger(folder / "csv", name, version=0, on_error="raise")],
            log_every_n_steps=5,
            enable_progress_bar=False,
        )

    model, made = Model(lr=lr), trainer()
    if interrupted:
        for progress in made.steps(model, batches, batches[:4]):
            if progress.steps == 33:
                state = made.capture()
            if progress.steps == 70:
                break
        model, made = Model(lr=lr), trainer()
        made.fit(model, batches, batches[:4], ckpt_path=state)
    else:
        made.fit(model, batches, batches[:4])
    board, logger = made.loggers
    board.log_hyperparams(
        model.hparams, {"hp_metric": float(made.callback_metrics["loss/validation"])}, 1
    )
    board.experiment.add_histogram("weights", model.layers[0].weight, 100)
    board.finalize("success")
    assert isinstance(logger, CSVLogger)
    return logger


RUNS = {"lr_0.05/version_0": (0.05, False), "lr_0.01/version_0": (0.01, True)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, CSVLogger]]:
    """A folder with two runs, one of them interrupted, and their CSV loggers."""
    folder = tmp_path_factory.mktemp("board")
    return folder / "lightning_logs", {
        run: trained(folder / "lightning_logs", run.partition("/")[0], lr=lr, interrupted=cut)
        for run, (lr, cut) in RUNS.items()
    }


@pytest.fixture(scope="module", params=["fast", "slow"])
def server(
    request: pytest.FixtureRequest, runs: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a TensorBoard server over them, with its fast way to read files and without.

    On a port of loopback that the system chose.
    """
    written = tmp_path_factory.mktemp("server") / "stderr"
    folder = runs[0]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder.name, "--port", "0"]
    command += ["--host", "127.0.0.1", "--load_fast", str(request.param == "fast").lower()]
    with written.open("w") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=stderr, cwd=folder.parent
        )
    try:
        found = waited(lambda: re.search(r"http://\S+:\d+", written.read_text()), written.read_text)
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def waited(look: Callable[[], Any], told: Callable[[], str] = str) -> Any:
    """What can be seen as soon as it can."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"nothing was there after {SECONDS} seconds. {told()}")


def asked(server: str, path: str, **parameters: str) -> Any:
    address = f"{server}/data/plugin/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def ready(server: str) -> str:
    """The server when it has read both runs to their ends: the histogram comes last."""
    waited(lambda: set(asked(server, "histograms/tags")) == set(RUNS))
    return server


def curves(server: str, run: str) -> dict[str, Points]:
    """Every curve of a run as the page gets it."""
    tags = asked(server, "scalars/tags")[run]
    return {
        tag: [
            (step, value) for _, step, value in asked(server, "scalars/scalars", tag=tag, run=run)
        ]
        for tag in tags
    }


def columns(logger: CSVLogger) -> dict[str, Points]:
    """Every column of a CSV file, rounded to what an event file holds."""
    found: dict[str, Points] = {}
    with open(logger.metrics_file_path, newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value:
                    (single,) = struct.unpack("f", struct.pack("f", float(value)))
                    found.setdefault(name, []).append((step, single))
    return found


@pytest.mark.parametrize("run", RUNS)
def test_the_server_shows_what_the_csv_file_holds(
    ready: str, runs: tuple[Path, dict[str, CSVLogger]], run: str
) -> None:
    shown, expected = curves(ready, run), columns(runs[1][run])
    of_hparams = shown.pop("hp_metric")

    assert {name: sorted(set(points)) for name, points in shown.items()} == {
        name: sorted(set(points)) for name, points in expected.items()
    }
    assert [step for step, _ in shown["loss/train_step"]] == list(range(4, 100, 5))
    assert [step for step, _ in shown["loss/validation"]] == list(range(19, 100, 20))
    assert of_hparams == [(0, -1.0), (1, shown["loss/validation"][-1][1])]


def test_hyperparameters_and_their_metric_are_in_their_tab(
    ready: str, runs: tuple[Path, dict[str, CSVLogger]]
) -> None:
    statuses = [f"STATUS_{word}" for word in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
    asks = {"experimentName": "", "allowedStatuses": statuses, "startIndex": 0, "sliceSize": 10}
    asks["colParams"] = [{"hparam": name, "includeInResult": True} for name in ("lr", "width")]
    request = urllib.request.Request(
        f"{ready}/data/plugin/hparams/session_groups",
        json.dumps(asks).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        groups = json.load(answer)["sessionGroups"]

    shown = {
        group["hparams"]["lr"]: (
            group["hparams"]["width"],
            {value["name"]["tag"]: value["value"] for value in group["metricValues"]},
        )
        for group in groups
    }
    assert shown == {
        lr: (8, {"hp_metric": columns(runs[1][run])["loss/validation"][-1][1]})
        for run, (lr, _) in RUNS.items()
    }


def test_the_graph_is_in_its_tab(ready: str) -> None:
    (run, *_) = RUNS
    address = f"{ready}/data/plugin/graphs/graph?" + urllib.parse.urlencode({"run": run})
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:
        graph = answer.read().decode()

    assert "Model/Sequential[layers]/Linear[0]" in graph


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs chromium to look at the page")
    return found


def browsed(browser: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Let a headless browser without a past do something."""
    flags = ["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
    flags += ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    flags += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000"]
    return subprocess.run(
        [browser, *flags, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )


def test_the_page_shows_the_curves(ready: str, browser: str, tmp_path: Path) -> None:
    """And leaves a picture: docs/images/tensorboard.png is one of them."""
    text = f"{ready}/#timeseries"  # its text is in the document, its curves need a graphics card
    curves = f"{ready}/#scalars&tagFilter=loss&_smoothingWeight=0"  # the other way round
    picture = tmp_path / "tensorboard.png"

    dom = browsed(browser, tmp_path, "--window-size=1280,4000", "--dump-dom", text).stdout
    browsed(browser, tmp_path, "--window-size=1280,760", f"--screenshot={picture}", curves)

    headings = {text.strip() for text in re.findall(r">([^<>]+)<", dom)}
    assert headings >= {*RUNS, "epoch", "hp_metric", "loss", "weights"}
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (1280, 760)
    assert picture.stat().st_size > 60_000  # a page without curves takes less
