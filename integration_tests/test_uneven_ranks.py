"""Two processes evaluate what does not divide by two, against one process that does the same work.

Under FSDP a rank whose batches are over runs one again, for the other's sake. The samples are
powers of two, so a sum says which of them were counted, and how often.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchmetrics import CatMetric, MeanMetric, MetricCollection, SumMetric

import lt

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]

STRATEGIES = ("ddp", "fsdp")


def powers(count: int) -> torch.Tensor:
    return torch.tensor([2.0**power for power in range(count)], dtype=torch.float64)[:, None]


class Meter:
    """The meter of many a script: no module, no torchmetrics, in no list of the engine's."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sum = 0.0

    def update(self, value: float) -> None:
        self.sum += value


@dataclass
class Tally:
    """A plain record."""

    sum: float = 0.0


class Counting(lt.LTModule):
    """Adds up what it sees in every way there is, and logs the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.in_log, self.by_call, self.by_hand = SumMetric(), SumMetric(), SumMetric()
        self.kept = CatMetric()
        self.group = MetricCollection({"a": SumMetric(), "b": MeanMetric()})
        self.outputs: list[float] = []
        self.nested: dict[str, list[torch.Tensor]] = {"x": [torch.zeros((), dtype=torch.float64)]}
        self.hidden = [SumMetric()]  # no submodule, as it stands in a list
        self.number, self.array = 0.0, np.zeros(1)
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))
        self.meter, self.tally = Meter(), Tally()
        self.hooked: list[int] = []
        self.told: list[bool] = []

    def on_test_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.hooked.append(batch_idx)

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.hooked.append(batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        (x,) = batch
        self.layer(x)
        self.in_log(x)
        self.log("in_log", self.in_log)
        self.by_call(x)
        self.by_hand.update(x)
        self.kept.update(x.flatten().float())  # as the empty one, where a rank has none
        self.group.update(x)
        self.hidden[0].update(x)
        self.outputs.append(float(x.sum()))
        self.nested["x"].append(x.sum())
        self.nested["x"][0] += x.sum()
        self.number += float(x.sum())
        self.array += float(x.sum())
        self.total += x.sum()
        self.meter.update(float(x.sum()))
        self.tally.sum += float(x.sum())
        self.log("plain", x.sum(), reduce_fx="sum", sync_dist=True)
        self.log("mean", x.mean(), sync_dist=True)
        return x.sum()

    def on_test_epoch_end(self) -> None:
        self.log("by_call", self.by_call)
        self.log("by_hand", self.by_hand.compute())
        self.log("kept", self.kept.compute().sum())
        self.log("group", self.group.compute()["a"])
        self.log("group_mean", self.group.compute()["b"])
        self.log("hidden", self.hidden[0].compute())
        mine = {
            "outputs": sum(self.outputs),
            "nested": float(sum(self.nested["x"][1:])),
            "in_place": float(self.nested["x"][0]),
            "number": self.number,
            "array": float(self.array[0]),
            "total": float(self.total),
            "meter": self.meter.sum,
            "tally": self.tally.sum,
            "hooked": float(len(self.hooked)),
        }
        for name, value in mine.items():
            self.log(name, value, reduce_fx="sum", sync_dist=True)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        (x,) = batch
        self.layer(x)
        return x.flatten().tolist()


SUMS = ("in_log", "by_call", "by_hand", "kept", "group", "hidden", "outputs", "nested", "in_place")
SUMS += ("number", "array", "total", "meter", "tally", "plain")


def trainer(**words: Any) -> lt.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False}
    quiet |= {"enable_checkpointing": False, "enable_model_summary": False}
    return lt.Trainer(accelerator="cpu", precision="64-true", **quiet, **words)


def loader(count: int, size: int = 1, **words: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(powers(count)), size, **words)


@pytest.mark.parametrize(("strategy", "count", "size"), [("ddp", 5, 2), ("fsdp", 5, 1)])
def test_whatever_a_step_adds_up_has_each_sample_once(strategy: str, count: int, size: int) -> None:
    (table,) = trainer(devices=2, strategy=strategy).test(Counting(), loader(count, size))
    (one,) = trainer().test(Counting(), loader(count, size))

    assert {name: table[name] for name in SUMS} == dict.fromkeys(SUMS, 2.0**count - 1)
    assert table["mean"] == one["mean"] == (2.0**count - 1) / count
    assert table["group_mean"] == pytest.approx(table["mean"], rel=1e-6)  # it sums in float32
    assert table["hooked"] == 2 * sum(-(-len(range(r, count, 2)) // size) for r in (0, 1))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_drop_the_samples_that_one_drops(strategy: str) -> None:
    data = loader(11, 2, drop_last=True)  # two rounds of two batches, one batch more, and a sample
    (table,) = trainer(devices=2, strategy=strategy).test(Counting(), data)
    (one,) = trainer().test(Counting(), data)

    assert {name: table[name] for name in SUMS} == dict.fromkeys(SUMS, 2.0**10 - 1)
    assert {name: one[name] for name in SUMS} == dict.fromkeys(SUMS, 2.0**10 - 1)
    assert table["hooked"] == one["hooked"] == 2 * 5


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")  # on the rank without any
def test_a_rank_without_any_batch_lets_the_other_run() -> None:
    (table,) = trainer(devices=2, strategy="fsdp").test(Counting(), loader(1))

    assert {name: table[name] for name in SUMS} == dict.fromkeys(SUMS, 1.0)
    assert (table["mean"], table["hooked"]) == (1.0, 2.0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predictions_hold_each_sample_once(strategy: str) -> None:
    predicted = trainer(devices=2, strategy=strategy).predict(Counting(), loader(3))
    assert predicted == [[1.0], [2.0], [4.0]]


class Telling(Counting):
    """Keeps what it sees where nobody can put it back, unless the step does not count."""

    def test_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        (x,) = batch
        self.layer(x)
        ELSEWHERE.append((self.trainer.is_repeated_batch, float(x.sum())))
        return x.sum()

    def on_test_epoch_end(self) -> None:
        for repeated in (False, True):
            found = sum(value for told, value in ELSEWHERE if told is repeated)
            self.log(f"repeated={repeated}", found, reduce_fx="sum", sync_dist=True)


ELSEWHERE: list[tuple[bool, float]] = []


def test_a_step_is_told_that_it_does_not_count() -> None:
    (table,) = trainer(devices=2, strategy="fsdp").test(Telling(), loader(3))

    assert table == {"repeated=False": 7.0, "repeated=True": 2.0}
    assert not trainer().is_repeated_batch


class Nothing(IterableDataset[Any]):
    """Has no length, and no sample."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("sized", [True, False])
def test_an_evaluation_of_nothing_is_refused_as_in_one_process(strategy: str, sized: bool) -> None:
    data: Any = loader(1, 2, drop_last=True) if sized else DataLoader(Nothing())
    with pytest.raises(ValueError, match="loader must yield batches") as alone:
        trainer().test(Counting(), data)
    with pytest.raises(ValueError, match="loader must yield batches") as several:
        trainer(devices=2, strategy=strategy).test(Counting(), data)
    assert str(several.value) == str(alone.value)


class Fitted(Counting):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        (x,) = batch
        return self.layer(x / 8).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.test_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self.on_test_epoch_end()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_fit_goes_on_after_uneven_validations() -> None:
    lt.seed_everything(1)
    one, two = Fitted(), Fitted()
    two.load_state_dict(one.state_dict())
    words: dict[str, Any] = {"max_epochs": 2}
    trainer(**words).fit(one, loader(4, 2), loader(3, 1))
    ran = trainer(devices=2, strategy="fsdp", **words)
    ran.fit(two, loader(4, 1), loader(3, 1))

    for name, weight in one.layer.state_dict().items():
        torch.testing.assert_close(two.layer.state_dict()[name], weight)
    assert ran.callback_metrics["in_log"] == 7.0  # reset for each epoch
    assert ran.callback_metrics["plain"] == 7.0


class Skipping(lt.LTModule):
    """Leaves out batches by rank and index."""

    def __init__(self, skipped: dict[int, set[int]]) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.skipped = skipped

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor | None:
        (x,) = batch
        if batch_idx in self.skipped.get(self.global_rank, ()):
            return None
        return self.layer(x / 8).pow(2).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.1, weight_decay=0.1)


LOOKS = "ddp_find_unused_parameters_true"


@pytest.mark.parametrize(
    ("strategy", "skipped", "window"),
    [("ddp", {2}, 1), ("ddp", {1}, 2), ("ddp", {2, 3}, 2), (LOOKS, {0, 5}, 2)],
)
def test_a_batch_that_all_skip_is_skipped_as_in_one_process(
    strategy: Any, skipped: set[int], window: int
) -> None:
    words: dict[str, Any] = {"max_epochs": 1, "accumulate_grad_batches": window}
    lt.seed_everything(1)
    one, two = Skipping({0: skipped}), Skipping({0: skipped, 1: skipped})
    two.load_state_dict(one.state_dict())
    alone, several = trainer(**words), trainer(devices=2, strategy=strategy, **words)
    alone.fit(one, loader(12, 2))
    several.fit(two, loader(12, 1))

    assert several.global_step == alone.global_step
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], weight)


@pytest.mark.parametrize(
    ("strategy", "skipped", "window", "rank"),
    [
        ("ddp", {1: {2}}, 1, 1),
        (LOOKS, {0: {5}}, 1, 0),  # the last one of the epoch
        ("ddp", {0: {0, 1}, 1: {1}}, 2, 0),  # the other one has gradients of the batch before
    ],
)
def test_a_rank_that_skips_alone_is_named(
    strategy: Any, skipped: dict[int, set[int]], window: int, rank: int
) -> None:
    mine = trainer(devices=2, strategy=strategy, max_epochs=1, accumulate_grad_batches=window)
    (batch,) = skipped[rank] - {0}

    message = rf"Received None for batch {batch} of epoch 0 from rank {rank}, and gradients from"
    with pytest.raises(ValueError, match=message):
        mine.fit(Skipping(skipped), loader(12, 1))


def test_a_loss_of_0_in_its_place_counts_as_a_batch_without_gradients() -> None:
    class Zero(Skipping):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            return 0 * sum(p.sum() for p in self.parameters()) if loss is None else loss

    class Half(Skipping):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            (x,) = batch
            return (self.layer(x / 8).pow(2) * torch.tensor([[1.0], [batch_idx != 2]])).mean()

    lt.seed_everything(1)
    one, two = Half({}), Zero({1: {2}})
    two.load_state_dict(one.state_dict())
    trainer(max_epochs=1).fit(one, loader(12, 2))
    trainer(devices=2, strategy="ddp", max_epochs=1).fit(two, loader(12, 1))
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], weight)
