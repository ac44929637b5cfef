"""BasePredictionWriter: what is written is what predict returns."""

from typing import Any

import pytest

from lt_callbacks import BasePredictionWriter


class Writer(BasePredictionWriter):
    def __init__(self, write_interval: Any = "batch_and_epoch") -> None:
        super().__init__(write_interval)
        self.batches: list[Any] = []
        self.epochs: list[Any] = []

    def write_on_batch_end(self, trainer: Any, pl_module: Any, prediction: Any, *rest: Any) -> None:
        self.batches.append((prediction, *rest))

    def write_on_epoch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.epochs.append(rest)


@pytest.mark.parametrize("interval", ["batch", "epoch", "batch_and_epoch"])
def test_the_interval_says_when(interval: Any, scripted: Any, make_trainer: Any) -> None:
    writer = Writer(interval)

    returned = make_trainer(writer).predict(scripted(), [10, 20])

    assert returned == [10, 20]
    by_batch = [(10, None, 10, 0, 0), (20, None, 20, 1, 0)]
    assert writer.batches == (by_batch if "batch" in interval else [])
    assert writer.epochs == ([([10, 20], [[None, None]])] if "epoch" in interval else [])


def test_several_loaders_are_told_apart(scripted: Any, make_trainer: Any) -> None:
    writer = Writer()
    trainer = make_trainer(writer)

    returned = trainer.predict(scripted(), [range(2), range(5, 6)])

    assert writer.epochs == [(returned, [[None, None], [None]])]
    assert [batch[-2:] for batch in writer.batches] == [(0, 0), (1, 0), (0, 1)]


def test_nothing_is_kept_from_one_run_to_the_next(scripted: Any, make_trainer: Any) -> None:
    writer = Writer()
    trainer = make_trainer(writer)

    for batches in ([1, 2], [3]):
        trainer.predict(scripted(), batches, return_predictions=False)

    assert [predictions for predictions, _ in writer.epochs] == [[1, 2], [3]]
    assert writer._predictions == writer._kept_indices == []


def test_the_indices_of_a_loader_in_order_are_known(scripted: Any, make_trainer: Any) -> None:
    data = pytest.importorskip("torch.utils.data")
    writer = Writer()
    in_order = data.DataLoader(list(range(5)), batch_size=2)
    shuffled = data.DataLoader(list(range(5)), batch_size=2, shuffle=True)

    make_trainer(writer).predict(scripted(), [in_order, shuffled])

    assert writer.epochs[0][1] == [[[0, 1], [2, 3], [4]], [None, None, None]]
    for prediction, indices, *_ in writer.batches[:3]:
        assert prediction.tolist() == indices


def test_predictions_wait_on_the_host(scripted: Any, make_trainer: Any) -> None:
    class OnDevice:
        def cpu(self) -> str:
            return "on the host"

    writer = Writer("epoch")

    make_trainer(writer).predict(scripted(), [{"a": [OnDevice()], "b": (OnDevice(), 1)}])

    assert writer.epochs[0][0] == [{"a": ["on the host"], "b": ("on the host", 1)}]


def test_a_missing_method_is_named_before_anything_is_predicted(
    scripted: Any, make_trainer: Any
) -> None:
    class Half(BasePredictionWriter):
        def write_on_batch_end(self, *arguments: Any) -> None: ...

    make_trainer(Half("batch")).predict(scripted(), [1])
    with pytest.raises(NotImplementedError, match=r"has a method write_on_epoch_end\. Received H"):
        make_trainer(Half("epoch")).predict(scripted(), [1])


def test_a_misspelt_interval_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'batch'\?"):
        Writer("batches")
