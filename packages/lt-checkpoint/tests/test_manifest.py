import dataclasses
import json
import math
from typing import Any

import pytest

from lt_checkpoint import manifest as manifests
from lt_checkpoint.errors import DamagedCheckpointError
from lt_checkpoint.manifest import FileRecord, Manifest

WHOLE = Manifest(
    epoch=1,
    step=20,
    serial=3,
    metrics={"loss": 0.1, "acc": 0.5},
    monitor="loss",
    names=("last",),
    fingerprint={"seed": [1, 2]},
    versions={"torch": "2"},
    saved_at="2026-01-01T00:00:00+00:00",
    files={"state.json": FileRecord(10, "0" * 64), "rank-12.safetensors": FileRecord(0, "a" * 64)},
)


def test_it_comes_back() -> None:
    assert manifests.from_text(manifests.as_text(WHOLE)) == WHOLE


def test_every_flipped_bit_is_noticed() -> None:
    text = manifests.as_text(WHOLE)
    for at in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(DamagedCheckpointError):
            manifests.from_text(bytes(flipped))


def test_every_truncation_is_noticed() -> None:
    text = manifests.as_text(WHOLE)
    for at in range(len(text)):
        with pytest.raises(DamagedCheckpointError):
            manifests.from_text(text[:at])


def forged(**words: Any) -> bytes:
    """A manifest with other words in it, and the hash that it must have."""
    body = json.loads(manifests.as_text(WHOLE))["manifest"] | words
    return manifests._spelled({"manifest": body, "sha256": manifests._hash(body)})


@pytest.mark.parametrize(
    "name",
    [
        *("../secret", "/etc/passwd", "state.json/../../x", "model.safetensors\x00", "x.json"),
        *("rank-01.json", "rank--1.json", "rank-1.json\n", "", ".", "C:\\x", "STATE.JSON"),
    ],
)
def test_a_name_that_is_no_file_of_a_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(DamagedCheckpointError, match="no name of a file"):
        manifests.from_text(forged(files={name: {"size": 1, "sha256": "0" * 64}}))


@pytest.mark.parametrize(
    "words",
    [
        {"epoch": "1"},
        {"step": 1.5},
        {"serial": None},
        {"world_size": "2"},
        {"monitor": 3},
        {"mode": "least"},
        {"kind": "pickle"},
        {"metrics": [1]},
        {"metrics": {"a": None}},
        {"names": "last"},
        {"versions": []},
        {"saved_at": 0},
        {"files": []},
        {"files": {"state.json": None}},
        {"files": {"state.json": {"size": -1, "sha256": "0" * 64}}},
        {"files": {"state.json": {"size": True, "sha256": "0" * 64}}},
        {"files": {"state.json": {"size": 1, "sha256": "x"}}},
        {"unknown": 1},
    ],
)
def test_an_entry_of_the_wrong_type_is_refused(words: Any) -> None:
    with pytest.raises(DamagedCheckpointError):
        manifests.from_text(forged(**words))


def test_a_later_format_says_what_to_do() -> None:
    with pytest.raises(DamagedCheckpointError, match="update lt-checkpoint"):
        manifests.from_text(forged(format=2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_metrics_need_not_be_finite(value: float) -> None:
    found = manifests.from_text(manifests.as_text(dataclasses.replace(WHOLE, metrics={"a": value})))
    assert repr(found.metrics["a"]) == repr(value)


def test_the_order_is_by_step_then_epoch_then_serial() -> None:
    ordered = [
        Manifest(serial=9),
        Manifest(step=1, epoch=0, serial=8),
        Manifest(step=1, epoch=1, serial=2),
        Manifest(step=1, epoch=1, serial=3),
        Manifest(step=2, epoch=0, serial=0),
    ]
    assert sorted(reversed(ordered), key=lambda one: one.order) == ordered
