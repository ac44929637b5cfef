"""StochasticWeightAveraging against a plain loop with torch.optim.swa_utils."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

from lt_callbacks import EarlyStopping, LambdaCallback, StochasticWeightAveraging
from lt_loop import Trainer
from lt_loop.solo import DuckBackend

EPOCHS = 6


class Network(nn.Sequential):
    trainer: Any = None

    def __init__(self, *, normalized: bool = False, schedule: Any = None) -> None:
        torch.manual_seed(0)
        norm = [nn.BatchNorm1d(3)] if normalized else []
        super().__init__(nn.Linear(4, 3), *norm, nn.Tanh(), nn.Linear(3, 1))
        self.schedule = schedule

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self(batch).square().mean()
        if self.trainer is not None:
            self.trainer.log("loss", loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        *body, head = self.children()
        groups = [
            {"params": [one for part in body for one in part.parameters()]},
            {"params": head.parameters(), "lr": 0.05},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        return optimizer if self.schedule is None else ([optimizer], [self.schedule(optimizer)])


def step_lr(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.8)


def per_step(optimizer: Any) -> Any:
    return {"scheduler": step_lr(optimizer), "interval": "step"}


def plateau(optimizer: Any) -> Any:
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=9)
    return {"scheduler": scheduler, "monitor": "loss"}


def copied(module: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(5, 4, generator=generator) for _ in range(4)]


def trainer(*callbacks: Any, **words: Any) -> Trainer:
    words = {"max_epochs": EPOCHS, "num_sanity_val_steps": 0, "backend": DuckBackend()} | words
    return Trainer(
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        **words,
    )


def by_hand(
    batches: list[Any],
    *,
    first: int,
    lrs: Any,
    avg_fn: Any = None,
    normalized: bool = False,
    schedule: Any = None,
    epochs: int = EPOCHS,
    **annealing: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the averaged network and the trained one. Epochs are counted from 0."""
    model = Network(normalized=normalized)
    optimizer = model.configure_optimizers()
    scheduler = schedule(optimizer) if schedule else None
    averaged = AveragedModel(model, avg_fn=avg_fn or (lambda a, new, n: a + (new - a) / (n + 1)))
    swa: Any = None
    for epoch in range(epochs):
        if epoch == first:
            swa = SWALR(optimizer, swa_lr=lrs, **annealing)
        if epoch >= first:
            averaged.update_parameters(model)
        for batch in batches:
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()
        if swa is not None:
            swa.step()
        elif scheduler is not None:
            scheduler.step()
    update_bn(batches, averaged)
    return copied(averaged.module), copied(model)


CASES = [
    ({"swa_lrs": 0.3, "swa_epoch_start": 3}, {"first": 2, "lrs": 0.3}),
    ({"swa_lrs": 0.3, "swa_epoch_start": 0.5}, {"first": 2, "lrs": 0.3}),
    ({"swa_lrs": 1, "swa_epoch_start": 0.0}, {"first": 0, "lrs": 1}),
    (
        {"swa_lrs": [0.3, 0.2], "swa_epoch_start": 2, "annealing_epochs": 2},
        {"first": 1, "lrs": [0.3, 0.2], "anneal_epochs": 2},
    ),
    (
        {"swa_lrs": 0.3, "swa_epoch_start": 2, "annealing_epochs": 0, "device": None},
        {"first": 1, "lrs": 0.3, "anneal_epochs": 0},
    ),
    (
        {"swa_lrs": 0.3, "swa_epoch_start": 2, "annealing_strategy": "linear"},
        {"first": 1, "lrs": 0.3, "anneal_strategy": "linear"},
    ),
    (
        {"swa_lrs": 0.3, "swa_epoch_start": 2, "avg_fn": lambda a, new, n: torch.maximum(a, new)},
        {"first": 1, "lrs": 0.3, "avg_fn": lambda a, new, n: torch.maximum(a, new)},
    ),
]


@pytest.mark.parametrize("schedule", [None, step_lr])
@pytest.mark.parametrize(("ours", "theirs"), CASES)
def test_the_average_is_that_of_a_loop_by_hand(
    ours: Any, theirs: Any, schedule: Any, batches: list[Any]
) -> None:
    model = Network(schedule=schedule)

    trainer(StochasticWeightAveraging(**ours)).fit(model, batches)

    assert equal(copied(model), by_hand(batches, schedule=schedule, **theirs)[0])


def test_statistics_of_batches_fit_the_average(batches: list[Any]) -> None:
    model = Network(normalized=True)
    before = model[1].momentum

    trainer(StochasticWeightAveraging(0.3, 3)).fit(model, batches)

    expected = by_hand(batches, first=2, lrs=0.3, normalized=True)[0]
    assert equal(copied(model), expected)
    assert model[1].momentum == before
    assert model[1].num_batches_tracked == len(batches)


@pytest.mark.parametrize("limit", [1.0, 2])
def test_statistics_are_of_the_batches_of_an_epoch(limit: Any, batches: list[Any]) -> None:
    class Data:
        def train_dataloader(self) -> Any:
            return batches

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch + 1

        def teardown(self, stage: str) -> None:
            self.ended = getattr(self, "ended", 0) + 1

    data, model = Data(), Network(normalized=True)

    run = trainer(StochasticWeightAveraging(0.3, 3), limit_train_batches=limit)
    run.fit(model, datamodule=data)

    seen = [batch + 1 for batch in batches[: None if limit == 1.0 else limit]]
    assert equal(copied(model), by_hand(seen, first=2, lrs=0.3, normalized=True)[0])
    assert data.ended == 1


@pytest.mark.parametrize("schedule", [step_lr, per_step, plateau])
def test_the_modules_own_schedule_rests(schedule: Any, batches: list[Any]) -> None:
    rates: list[float] = []

    def note(run: Any, *_: Any) -> None:
        rates.append(run.optimizers[0].param_groups[0]["lr"])

    watch = LambdaCallback(on_train_batch_end=note)
    swa = StochasticWeightAveraging(0.3, 3, annealing_epochs=2, annealing_strategy="linear")

    trainer(swa, watch).fit(Network(schedule=schedule), batches)

    rates = rates[:: len(batches)][2:]  # the first of each averaged epoch
    start = rates[0]
    assert rates == pytest.approx([start, (start + 0.3) / 2, 0.3, 0.3])
    assert start != 0.1


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("schedule", [None, step_lr, per_step, plateau])
@pytest.mark.parametrize("at", [3, 9, 12])
def test_a_run_that_was_broken_off_goes_on_to_the_same_bits(
    normalized: bool, schedule: Any, at: int, batches: list[Any]
) -> None:
    def parts() -> tuple[Trainer, Network]:
        swa = StochasticWeightAveraging([0.3, 0.2], 3, annealing_epochs=3)
        return trainer(swa), Network(normalized=normalized, schedule=schedule)

    run, whole = parts()
    run.fit(whole, batches)
    groups = run.capture()["optimizer_states"][0]["param_groups"]

    first, model = parts()
    for progress in first.steps(model, batches):
        if progress.steps == at:
            break
    run, second = parts()
    run.fit(second, batches, ckpt_path=first.capture())

    assert equal(copied(second), copied(whole))
    assert run.capture()["optimizer_states"][0]["param_groups"] == groups


def test_a_run_that_was_over_goes_on_from_the_weights_in_training(batches: list[Any]) -> None:
    whole = Network(normalized=True)
    trainer(StochasticWeightAveraging(0.3, 3)).fit(whole, batches)

    short = trainer(StochasticWeightAveraging(0.3, 3), max_epochs=4)
    short.fit(first := Network(normalized=True), batches)
    state = short.capture()
    trainer(StochasticWeightAveraging(0.3, 3)).fit(
        again := Network(normalized=True), batches, ckpt_path=state
    )

    assert equal(state["state_dict"], copied(first))
    trained = by_hand(batches, first=2, lrs=0.3, normalized=True, epochs=4)[1]
    assert equal(state["current_model_state"], trained)
    assert equal(copied(again), copied(whole))


def test_a_run_that_stops_early_is_left_with_the_average(batches: list[Any]) -> None:
    stop = EarlyStopping("loss", stopping_threshold=1e9)
    model = Network()

    result = trainer(StochasticWeightAveraging(0.3, 1), stop).fit(model, batches)

    assert result.progress.epoch == 1
    assert equal(copied(model), by_hand(batches, first=0, lrs=0.3, epochs=1)[0])


def test_without_an_average_the_weights_are_kept(batches: list[Any], caplog: Any) -> None:
    model, plain = Network(), Network()

    trainer(StochasticWeightAveraging(0.3, 5), max_epochs=2).fit(model, batches)
    trainer(max_epochs=2).fit(plain, batches)

    assert equal(copied(model), copied(plain))
    assert "training ended before epoch 4: nothing was averaged" in caplog.text


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"swa_lrs": "0.1"}, TypeError, "swa_lrs is a learning rate"),
        ({"swa_lrs": []}, TypeError, "swa_lrs is a learning rate"),
        ({"swa_lrs": [0.1, -1.0]}, ValueError, "Learning rates are above 0"),
        ({"swa_epoch_start": 0}, ValueError, "swa_epoch_start is an int of at least 1"),
        ({"swa_epoch_start": 1.5}, ValueError, "swa_epoch_start is an int of at least 1"),
        ({"swa_epoch_start": "3"}, TypeError, "swa_epoch_start is the number of an epoch"),
        ({"annealing_epochs": -1}, ValueError, "annealing_epochs is an int of at least 0"),
        ({"annealing_strategy": "cosine"}, ValueError, r"Did you mean 'cos'\?"),
        ({"avg_fn": 3}, TypeError, "avg_fn is a function"),
    ],
)
def test_bad_arguments_are_refused(words: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        StochasticWeightAveraging(**{"swa_lrs": 0.1, **words})


class Two(Network):
    automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return super().configure_optimizers(), super().configure_optimizers()


class Manual(Network):
    automatic_optimization = False


@pytest.mark.parametrize(
    ("make", "words", "error", "message"),
    [
        (Two, {}, ValueError, "one optimizer and at most one schedule. Received 2 and 0"),
        (lambda: Manual(normalized=True), {}, ValueError, "steps its optimizers there itself"),
        (Network, {"max_epochs": -1, "max_steps": 3}, ValueError, "needs a number of epochs"),
    ],
)
def test_what_can_not_be_averaged_is_refused(
    make: Any, words: Any, error: Any, message: str, batches: list[Any]
) -> None:
    with pytest.raises(error, match=message):
        trainer(StochasticWeightAveraging(0.3), **words).fit(make(), batches)


def test_a_loader_that_can_be_read_once_has_no_second_look(batches: list[Any]) -> None:
    with pytest.raises(TypeError, match="can be read once"):
        trainer(StochasticWeightAveraging(0.3), max_epochs=1).fit(
            Network(normalized=True), iter(batches)
        )
