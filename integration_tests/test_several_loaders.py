"""Several loaders, overfitting and the sanity check, with the torch packages together."""

import random
import warnings
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import lt
import lt_data.structure
import lt_loop.several
from lt_data import TorchFeed

EPOCHS = 3


def trainer(**words: Any) -> lt.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "feed": TorchFeed(order="torch"),  # what a loop by hand draws, from torch's generator
        "max_epochs": EPOCHS,
        "logger": False,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
    }
    return lt.Trainer(**(defaults | words))


def loader(batches: int, seed: int, **words: Any) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4 * batches, 8, generator=generator)
    return DataLoader(TensorDataset(x), **({"batch_size": 4, "shuffle": True} | words))


def tensors(batch: Any) -> Iterator[Tensor]:
    """The tensors in a batch of any form, in their order."""
    if isinstance(batch, Tensor):
        yield batch
    elif batch is not None:
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from tensors(part)


class Model(lt.LTModule):
    """Adds up what it makes of every tensor in a batch; keeps the form of each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.Linear(16, 1))
        self.seen: list[Any] = []

    def loss(self, batch: Any) -> Tensor:
        return torch.stack([self.net(x).pow(2).mean() for x in tensors(batch)]).sum()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append(batch)
        return self.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def by_hand(batches_of: Callable[[], Any], epochs: int = EPOCHS) -> Model:
    """The loop that a run replaces, over whatever an epoch's batches are."""
    model = Model()
    optimizer = model.configure_optimizers()
    torch.manual_seed(1)
    for _ in range(epochs):
        for batch in batches_of():
            optimizer.zero_grad()
            loss = model.loss(batch)
            loss.backward()
            optimizer.step()
    return model


def fitted(*loaders: Any, **words: Any) -> Model:
    model = Model()
    torch.manual_seed(1)
    trainer(**words).fit(model, *loaders)
    return model


def assert_same_bits(one: nn.Module, other: nn.Module) -> None:
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


# Training on several


def zipped(first: Any, second: Any) -> Any:
    return zip(first, second, strict=False)


COMBINED = {
    "a list": (lambda a, b: [a, b], zipped),
    "a tuple": (lambda a, b: (a, b), zipped),
    "a dict": (lambda a, b: {"x": a, "y": b}, zipped),
    "nested": (lambda a, b: {"x": [a], "y": {"z": b}}, zipped),
    "min_size": (lambda a, b: lt.CombinedLoader([a, b], "min_size"), zipped),
    "max_size": (lambda a, b: lt.CombinedLoader([a, b], "max_size"), zip_longest),
}


@pytest.mark.parametrize("name", COMBINED)
def test_loaders_side_by_side_train_as_a_loop_over_zip_does(name: str) -> None:
    combined, by_zip = COMBINED[name]
    lengths = (5, 3) if name in ("min_size", "max_size") else (4, 4)
    first, second = (loader(count, seed) for seed, count in enumerate(lengths))

    expected = by_hand(lambda: by_zip(first, second))
    model = fitted(combined(first, second))

    assert_same_bits(model, expected)


def again_and_again(batches: Any) -> Iterator[Any]:
    while True:
        yield from batches


def test_the_shorter_loader_begins_anew_until_the_longest_ends() -> None:
    long, short = (loader(count, 0, shuffle=False) for count in (5, 2))

    expected = by_hand(lambda: zip(long, again_and_again(short), strict=False))
    model = fitted({"long": long, "short": short})

    assert_same_bits(model, expected)
    assert len(model.seen) == 5 * EPOCHS


@pytest.mark.parametrize("limit", [3, 0.6])
def test_a_limit_counts_the_batches_of_all_together(limit: float) -> None:
    model = fitted([loader(5, 0), loader(2, 1)], limit_train_batches=limit)

    assert len(model.seen) == 3 * EPOCHS


def test_a_batch_has_the_form_of_the_collection() -> None:
    model = fitted({"x": loader(2, 0), "y": [loader(2, 1), (loader(1, 2),)]}, max_epochs=1)

    for batch in model.seen:
        assert list(batch) == ["x", "y"]
        (y, (z,)) = batch["y"]
        assert [type(part) for part in (batch["x"], y, batch["y"][1], z)] == [
            list,
            list,
            tuple,
            list,
        ]


def test_hooks_give_collections_too() -> None:
    class Data(lt.LTDataModule):
        def train_dataloader(self) -> Any:
            return {"x": loader(2, 0), "y": loader(3, 1)}

    class Own(Model):
        def train_dataloader(self) -> Any:
            return [loader(2, 0), loader(3, 1)]

    model = Model()
    trainer(max_epochs=1).fit(model, datamodule=Data())
    assert [list(batch) for batch in model.seen] == [["x", "y"]] * 3
    model = Own()
    trainer(max_epochs=1).fit(model)
    assert [len(batch) for batch in model.seen] == [2] * 3


def test_a_list_of_batches_is_one_loader() -> None:
    batches = list(torch.randn(4, 3, 8))

    model = fitted(batches, max_epochs=1)

    assert all(seen is batch for seen, batch in zip(model.seen, batches, strict=True))


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("mode", ["min_size", "max_size", "max_size_cycle"])
def test_going_on_within_an_epoch_gives_the_same_bits(
    mode: Any, accumulate: int, stop: int
) -> None:
    """The generators are the loaders' own, as docs/known-limits.md says they must be."""

    def loaders() -> Any:
        words: dict[str, Any] = {"shuffle": False, "generator": torch.Generator()}
        return lt.CombinedLoader(
            {"x": loader(5, 0, **words), "y": loader(3, 1, **words), "z": loader(7, 2, **words)},
            mode,
        )

    words = {"accumulate_grad_batches": accumulate}
    whole = fitted(loaders(), **words)
    first = Model()
    torch.manual_seed(1)
    stopped = trainer(**words)
    for progress in stopped.steps(first, loaders()):
        if progress.steps == stop:
            break
    state = stopped.capture()
    assert state["loops"]["progress"]["batches"] == sum(1 for _ in first.seen)

    second = Model()
    trainer(**words).fit(second, loaders(), ckpt_path=state)
    assert_same_bits(second, whole)
    assert len(first.seen) + len(second.seen) == len(whole.seen)


def test_loaders_one_after_another_do_not_train() -> None:
    combined = lt.CombinedLoader([loader(2, 0), loader(2, 1)], "sequential")
    with pytest.raises(ValueError, match=r"Received a CombinedLoader of mode 'sequential' as tra"):
        fitted(combined)


@pytest.mark.parametrize(
    ("loaders", "message"),
    [
        ({}, r"holds at least one loader\. Received \{\}"),
        ({"x": [], "y": [1]}, r"Received an empty one at \['x'\]"),
        ({"x": TensorDataset(torch.ones(2))}, r"the dataset TensorDataset at \['x'\]"),
        ({"x": torch.ones(2)}, r"an object of type Tensor at \['x'\]"),
    ],
)
def test_what_can_not_be_combined_is_refused(loaders: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        fitted(loaders)


def test_without_lt_data_it_is_said_what_to_install() -> None:
    from lt_loop.solo import IterableFeed

    message = r"Received a dict of loaders as train loader\. Install lt-data"
    with pytest.raises(LookupError, match=message):
        fitted({"x": loader(2, 0)}, feed=IterableFeed())


# Evaluating several


class Evaluated(Model):
    """Notes which batch came from which loader."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen.append((dataloader_idx, batch_idx, batch))
        self.log("loss", self.loss(batch))

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return dataloader_idx, batch_idx


@pytest.mark.parametrize(
    "several",
    [
        lambda a, b: [a, b],
        lambda a, b: {"x": a, "y": b},
        lambda a, b: {"x": [a], "y": {"z": b}},
        lambda a, b: lt.CombinedLoader({"x": a, "y": b}, "sequential"),
    ],
)
@pytest.mark.parametrize("call", ["validate", "test"])
def test_several_loaders_are_evaluated_one_after_another(several: Any, call: str) -> None:
    loaders = several(loader(2, 0, shuffle=False), loader(3, 1, shuffle=False))
    model = Evaluated()

    tables = getattr(trainer(), call)(model, loaders)

    assert [seen[:2] for seen in model.seen] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert [list(table) for table in tables] == [
        ["loss/dataloader_idx_0"],
        ["loss/dataloader_idx_1"],
    ]
    predicted = trainer().predict(model, loaders)
    assert predicted == [[(0, 0), (0, 1)], [(1, 0), (1, 1), (1, 2)]]


@pytest.mark.parametrize("call", ["validate", "test"])
def test_loaders_side_by_side_are_evaluated_as_one(call: str) -> None:
    class Plain(Evaluated):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.seen.append(batch)
            self.log("loss", self.loss(batch))

        test_step = validation_step

    combined = lt.CombinedLoader({"x": loader(2, 0), "y": loader(3, 1)}, "max_size")
    model = Plain()

    (table,) = getattr(trainer(), call)(model, combined)

    assert list(table) == ["loss"]
    assert [sorted(batch) for batch in model.seen] == [["x", "y"]] * 3
    assert model.seen[2]["x"] is None


def test_limits_hold_for_each_loader() -> None:
    model = Evaluated()

    trainer(limit_val_batches=0.5).validate(model, {"x": loader(2, 0), "y": loader(4, 1)})

    assert [seen[:2] for seen in model.seen] == [(0, 0), (1, 0), (1, 1)]


# What a collection is


class Own:
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@pytest.mark.parametrize(
    "loaders",
    [
        *({}, [], (), None, 3, "abc", range(3), torch.ones(2), [1, 2], [[1], [2]], ["ab"], [None]),
        *({"a": 1}, [{"a": 1}], [{"a": Own()}], [Own()], (Own(), range(3)), [Own(), 3], [Own]),
        *([torch.ones(2)], [(torch.ones(2), torch.ones(2))], [[Own()], Own()], [[Own()], [1]]),
        *([TensorDataset(torch.ones(2))], [loader(1, 0)], [{1, 2}], [nn.Linear(1, 1)]),
        *([lt.CombinedLoader([[1]])], lt.CombinedLoader([[1]]), [iter([1])], [numpy.ones(2)]),
    ],
    ids=lambda loaders: type(loaders).__name__,
)
def test_loop_and_feed_agree_on_what_a_collection_is(loaders: Any) -> None:
    expected = lt_loop.several.is_collection(loaders)

    assert lt_data.structure.is_collection(loaders) is expected
    if expected and loaders:
        flat = lt_data.structure.structure_of(loaders).loaders
        assert all(
            mine is theirs
            for mine, theirs in zip(lt_loop.several.one_by_one(loaders), flat, strict=True)
        )


# Overfitting


@pytest.mark.parametrize("batches", [3, 0.6])
def test_overfitting_reads_the_same_batches_in_each_epoch(batches: float) -> None:
    class Validated(Evaluated):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.seen.append(("train", batch_idx, batch))
            return self.loss(batch)

    train, validate = loader(5, 0), loader(5, 1)
    model = Validated()
    with pytest.warns(
        UserWarning, match=r"^overfit_batches reads the same .* a (train|val) loa"
    ) as w:
        trainer(overfit_batches=batches).fit(model, train, validate)

    assert len(w) == 2
    assert [seen[:2] for seen in model.seen] == EPOCHS * [
        *[("train", n) for n in range(3)],
        *[(0, n) for n in range(3)],
    ]
    (x,), (y,) = train.dataset.tensors, validate.dataset.tensors
    rows = [torch.cat([batch[0] for _, _, batch in model.seen[3 * n :][:3]]) for n in range(6)]
    for epoch in range(EPOCHS):
        assert torch.equal(rows[2 * epoch], x[:12])
        assert torch.equal(rows[2 * epoch + 1], y[:12])


def test_overfitting_an_ordered_loader_is_a_limit_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fitted(loader(5, 0, shuffle=False), overfit_batches=2)

    assert_same_bits(model, fitted(loader(5, 0, shuffle=False), limit_train_batches=2))


def test_overfitting_puts_each_of_several_loaders_in_order() -> None:
    with pytest.warns(UserWarning, match="overfit_batches"):
        model = fitted({"x": loader(5, 0), "y": loader(5, 1)}, overfit_batches=1)

    first = model.seen[0]
    for batch in model.seen:
        assert torch.equal(batch["x"][0], first["x"][0])
        assert torch.equal(batch["y"][0], first["y"][0])


# The sanity check


class Drawing(Dataset[Tensor]):
    """Draws from every generator there is when a sample is read."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((8,), random.random() + numpy.random.rand() + float(torch.rand(())))

    def __len__(self) -> int:
        return self.count


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sanity", [2, -1])
def test_the_sanity_check_changes_no_bit_of_the_training(sanity: int, workers: int) -> None:
    class Drawn(Model):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            random.random(), numpy.random.rand(), torch.rand(3)

    def trained(**words: Any) -> tuple[Drawn, list[float]]:
        lt.seed_everything(5)
        model = Drawn()
        lt.seed_everything(5)
        shuffled = DataLoader(Drawing(12), batch_size=4, shuffle=True, num_workers=workers)
        train = DataLoader(Drawing(12), batch_size=4, shuffle=True)
        trainer(limit_val_batches=words.pop("limit", 1.0), **words).fit(model, train, shuffled)
        return model, [random.random(), numpy.random.rand(), float(torch.rand(()))]

    model, drawn = trained(num_sanity_val_steps=sanity)
    other, drawn_without = trained(num_sanity_val_steps=0)

    assert_same_bits(model, other)
    assert all(torch.equal(a, b) for a, b in zip(model.seen, other.seen, strict=True))
    assert drawn == drawn_without


def test_the_sanity_check_changes_nothing_where_hooks_draw_too() -> None:
    class Making(Model):
        """Makes its data of random numbers, when it is asked for them."""

        def train_dataloader(self) -> Any:
            return DataLoader(torch.randn(12, 8), batch_size=4, shuffle=True)

        def val_dataloader(self) -> Any:
            return DataLoader(torch.randn(8, 8), batch_size=4, shuffle=True)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            torch.rand(3)

    def trained(sanity: int) -> Making:
        model = Making()
        torch.manual_seed(1)
        trainer(num_sanity_val_steps=sanity).fit(model)
        return model

    assert_same_bits(trained(2), trained(0))


# Iterable datasets


class Unmeasured(IterableDataset[Tensor]):
    def __init__(self, samples: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(samples, 8, generator=generator)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.x)


@pytest.mark.parametrize("limit", [1.0, 3, 5, 99])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_an_iterable_dataset_trains_as_a_measured_one_does(limit: Any, accumulate: int) -> None:
    words = {"limit_train_batches": limit, "accumulate_grad_batches": accumulate}
    unmeasured = DataLoader(Unmeasured(18), batch_size=4)
    measured = DataLoader(TensorDataset(Unmeasured(18).x), batch_size=4)

    assert_same_bits(fitted(unmeasured, **words), fitted(measured, **words))


def test_several_iterable_datasets_train_until_the_longest_ends() -> None:
    loaders = [DataLoader(Unmeasured(count), batch_size=4) for count in (18, 8)]

    model = fitted(loaders, max_epochs=1)

    assert [len(list(tensors(batch))) for batch in model.seen] == [2] * 5


@pytest.mark.parametrize("batches", [True, 2])
def test_fast_dev_run_tries_several_loaders_of_any_kind(batches: Any) -> None:
    model = Evaluated()
    measured, unmeasured = loader(5, 0), DataLoader(Unmeasured(18), batch_size=4)
    result = trainer(fast_dev_run=batches).fit(
        model, [measured, unmeasured], [unmeasured, measured]
    )

    assert result.progress.batches == int(batches)
    validated = [seen[:2] for seen in model.seen if isinstance(seen, tuple)]
    assert validated == [(index, batch) for index in (0, 1) for batch in range(int(batches))]
