"""The safetensors library is the oracle: it reads what we write, and we read what it writes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lt_checkpoint import save, tensor_file
from lt_checkpoint.errors import DamagedCheckpointError
from lt_checkpoint.hashing import Hashing

TENSORS = {
    "b": torch.tensor([True]),
    "a": torch.randn(3, 5),
    "é/ü": torch.arange(7, dtype=torch.int16),
    "s": torch.tensor(1.0, dtype=torch.float64),
    "e": torch.empty(0, 4, dtype=torch.bfloat16),
    "f8": torch.ones(3).to(torch.float8_e4m3fn),
}


def read(data: bytes, **words: Any) -> dict[str, torch.Tensor]:
    with Hashing() as hashing:
        return tensor_file.read(io.BytesIO(data), len(data), hashing, **words)


def written(tensors: dict[str, torch.Tensor]) -> bytes:
    parts = tensor_file.pieces(tensors, {})
    return b"".join(bytes(part.flatten().view(torch.uint8).tolist()) for part in parts)


def test_the_library_reads_the_model_in_a_checkpoint(tmp_path: Path, state: Any) -> None:
    save(state, tmp_path / "a.ckpt")
    found = load_file(tmp_path / "a.ckpt" / "model.safetensors")
    assert set(found) == set(state["state_dict"])
    for name, tensor in state["state_dict"].items():
        assert torch.equal(found[name], tensor)


def test_the_library_reads_what_we_write(tmp_path: Path, alike: Any) -> None:
    (tmp_path / "a").write_bytes(written(TENSORS))
    assert alike(dict(sorted(load_file(tmp_path / "a").items())), dict(sorted(TENSORS.items())))


def test_we_read_what_the_library_writes(tmp_path: Path, alike: Any) -> None:
    save_file(TENSORS, tmp_path / "a", metadata={"format": "pt"})
    found = read((tmp_path / "a").read_bytes())
    assert alike(dict(sorted(found.items())), dict(sorted(TENSORS.items())))


def test_a_part_of_it_is_read_and_all_of_it_is_hashed(tmp_path: Path) -> None:
    import hashlib

    data = written({"a": torch.randn(1000, 1000), "b": torch.ones(3)})
    with Hashing() as hashing:
        found = tensor_file.read(io.BytesIO(data), len(data), hashing, wanted={"b"})
        assert hashing.hexdigest() == hashlib.sha256(data).hexdigest()
    assert list(found) == ["b"]


def test_the_size_is_known_beforehand() -> None:
    assert tensor_file.size_of(TENSORS, {}) == len(written(TENSORS))


def file_of(header: Any, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


HOSTILE = {
    "nothing": b"",
    "short": b"1234567",
    "long header": (10**15).to_bytes(8, "little") + b"{}",
    "header ends": (20).to_bytes(8, "little") + b"{}",
    "no json": file_of(b"\xff\xfe{"),
    "a list": file_of([1]),
    "deep": file_of(b"[" * 100_000),
    "terabytes": file_of(entry(shape=(2**40,), offsets=(0, 2**42)), b"1234"),
    "more than is there": file_of(entry(), b"123"),
    "less than is there": file_of(entry(), b"12345"),
    "hole": file_of(entry(offsets=(4, 8)), b"12345678"),
    "overlap": file_of({**entry(), "b": entry()["a"]}, b"1234"),
    "shape": file_of(entry(shape=(2,)), b"1234"),
    "negative": file_of(entry(shape=(-1, -1)), b"1234"),
    "float shape": file_of(entry(shape=(1.0,)), b"1234"),
    "bool shape": file_of(entry(shape=(True,)), b"1234"),
    "text shape": file_of(entry(shape="1"), b"1234"),
    "dimensions": file_of(entry(shape=(1,) * 70), b"1234"),
    "huge and empty": file_of(entry(shape=(0, 2**80), offsets=(0, 0))),
    "dtype": file_of(entry(dtype="X1"), b"1234"),
    "dtype list": file_of(entry(dtype=[1]), b"1234"),
    "no offsets": file_of({"a": {"dtype": "F32", "shape": [1]}}, b"1234"),
    "three offsets": file_of(entry(offsets=(0, 2, 4)), b"1234"),
    "no entry": file_of({"a": 3}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_such_file_is_refused(name: str) -> None:
    with pytest.raises(DamagedCheckpointError):
        read(HOSTILE[name])


@pytest.mark.parametrize("at", range(0, 130, 7))
def test_every_truncation_is_noticed(at: int) -> None:
    data = written({"a": torch.ones(20)})
    with pytest.raises(DamagedCheckpointError):
        read(data[:at])


def test_names_come_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(written(TENSORS))
    with safe_open(tmp_path / "a", "pt") as file:
        assert set(file.keys()) == set(TENSORS)
