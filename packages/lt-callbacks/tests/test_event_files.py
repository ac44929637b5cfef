"""Event files, against those that SummaryWriter writes by itself."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard")
pytest.importorskip("torch")

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from lt_callbacks.event_files import SummaryWriter, write_hyperparameters, write_scalars

SCALARS = {"loss": 0.5, "val/acc": 1.0, "a name": float("inf")}


def events(folder: Path) -> list[Any]:
    """All events of a folder's files but the first of each, which tells the version."""
    files = sorted(folder.iterdir())
    return [event for file in files for event in list(EventFileLoader(str(file)).Load())[1:]]


def as_points(found: list[Any]) -> list[tuple[int, str, float]]:
    return [
        (event.step, value.tag, value.tensor.float_val[0])
        for event in found
        for value in event.summary.value
    ]


def test_the_scalars_of_a_step_are_one_event(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "ours")) as ours:
        write_scalars(ours, SCALARS, 7)
    with SummaryWriter(str(tmp_path / "torchs")) as torchs:
        for name, value in SCALARS.items():
            torchs.add_scalar(name, value, 7)

    found = events(tmp_path / "ours")
    assert len(found) == 1
    assert as_points(found) == as_points(events(tmp_path / "torchs"))


def test_hyperparameters_are_told_as_by_add_hparams(tmp_path: Path) -> None:
    params, metrics = {"lr": 0.1, "act": "relu"}, {"acc": 0.5}
    with SummaryWriter(str(tmp_path / "ours")) as ours:
        write_hyperparameters(ours, params, metrics, 7)
    with SummaryWriter(str(tmp_path / "torchs")) as torchs:
        torchs.add_hparams(params, metrics, run_name=".")  # in a file of its own, with a scalar

    ours_found, torchs_found = (
        [
            (value.tag, value.metadata)
            for event in events(tmp_path / who)
            for value in event.summary.value
            if value.tag != "acc"
        ]
        for who in ("ours", "torchs")
    )
    assert len(ours_found) == 3
    assert ours_found == torchs_found
