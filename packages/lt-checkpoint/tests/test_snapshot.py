"""Snapshots: later steps change nothing in them, and their memory is used again."""

from collections.abc import Sequence

import pytest
import torch

from lt_checkpoint import snapshot
from lt_checkpoint.draft import Draft, Table
from lt_checkpoint.snapshot import Pair, Snapshots, halves


def table(draft: Draft) -> Table:
    content = draft.files["model.safetensors"]
    assert isinstance(content, Table)
    return content


def draft_of(tensors: dict[str, torch.Tensor]) -> Draft:
    return Draft({"state.json": b"{}", "model.safetensors": Table(tensors, {"same": "name"})})


def pairs_of(sizes: Sequence[int]) -> list[Pair]:
    tensors = [torch.zeros(size, dtype=torch.uint8) for size in sizes]
    return [Pair(torch.ones_like(tensor), tensor) for tensor in tensors]


@pytest.mark.parametrize("threshold", [0, 1 << 40], ids=["two threads", "one thread"])
def test_a_snapshot_stays_what_it_was(threshold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SHARED_FROM", threshold)
    tensors = {f"layer{index}": torch.randn(3, index) for index in range(6)}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    taken = Snapshots().take(draft_of(tensors))
    for tensor in tensors.values():
        tensor.zero_()

    assert taken.files["state.json"] == b"{}"
    assert table(taken).metadata == {"same": "name"}
    assert table(taken).tensors.keys() == before.keys()
    for name, tensor in table(taken).tensors.items():
        assert torch.equal(tensor, before[name])


def test_the_next_one_takes_the_same_memory_where_shape_and_type_are_the_same() -> None:
    snapshots = Snapshots()
    first = table(snapshots.take(draft_of({"a": torch.ones(2), "b": torch.ones(2)}))).tensors
    second = table(snapshots.take(draft_of({"a": torch.zeros(2), "b": torch.zeros(3)}))).tensors

    assert second["a"] is first["a"]
    assert second["a"].tolist() == [0.0, 0.0]
    assert second["b"] is not first["b"]


def test_a_failure_of_the_second_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SHARED_FROM", 0)
    fits, does_not = torch.ones(2), torch.ones(3)
    pairs = [Pair(fits, fits), Pair(fits, does_not)]

    with pytest.raises(RuntimeError, match="must match"):
        snapshot.copy(pairs)


@pytest.mark.parametrize(
    ("sizes", "first"),
    [
        ([], 0),
        ([1, 1, 1], 3),  # too few bytes for a second thread
        ([50, 50], 1),
        ([100], 0),
        ([90, 5, 5], 1),
        ([5, 5, 90], 2),
        ([10] * 10, 5),
    ],
)
def test_two_threads_copy_about_as_many_bytes(
    sizes: list[int], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "SHARED_FROM", 50)
    pairs = pairs_of(sizes)
    mine, other = halves(pairs)

    assert [*mine, *other] == pairs
    assert len(mine) == first
