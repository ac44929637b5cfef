"""LearningRateFinder and Tuner.lr_find on problems whose curves are known."""

import copy
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lt_callbacks import LambdaCallback, LearningRateFinder, Tuner
from lt_callbacks.range_test import LossCurve, LRFinder
from lt_loop import Trainer
from lt_loop.solo import DuckBackend


class Isolating(DuckBackend):
    """A backend that keeps the word of its port about random generators."""

    def wrap_step(self, fn: Any, phase: Any) -> Any:
        if phase != "sanity_check":
            return fn

        def isolated(*arguments: Any) -> Any:
            with torch.random.fork_rng():
                return fn(*arguments)

        return isolated


class Quadratic(nn.Module):
    """A loss of 5 w**2, which one step of the learning rate 0.1 brings to 0."""

    trainer: Any = None

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.lr = lr

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return 5 * self.w.square()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Network(nn.Sequential):
    """With what draws random numbers and what has statistics; its loader shuffles."""

    trainer: Any = None

    def __init__(self, schedule: Any = None) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1)
        )
        self.hparams = {"learning_rate": 0.05}
        self.schedule = schedule
        self.rates: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        loss = self(batch[0]).square().mean()
        self.trainer.log("loss", loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        lr = self.hparams["learning_rate"]
        optimizer = torch.optim.SGD(self.parameters(), lr=lr, momentum=0.9)
        return optimizer if self.schedule is None else ([optimizer], [self.schedule(optimizer)])


def copied(module: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def loader(**words: Any) -> DataLoader[Any]:
    data = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(data), batch_size=6, shuffle=True, **words)


def trainer(*callbacks: Any, **words: Any) -> Trainer:
    words = {"max_epochs": 2, "num_sanity_val_steps": 0, "backend": Isolating()} | words
    return Trainer(
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        **words,
    )


def quadratic_curve(rates: list[float], threshold: float = 4.0) -> list[float]:
    """The smoothed losses of gradient descent on the quadratic, by its formula."""
    curve, w, losses = LossCurve(threshold), 1.0, []
    for rate in rates:
        losses.append(curve.add(5 * w * w))
        if curve.diverged:
            break
        w *= 1 - 10 * rate
    return losses


def test_the_curve_is_that_of_gradient_descent() -> None:
    finder, model = LearningRateFinder(1.3e-4, 10.0, 60), Quadratic()

    trainer(finder).fit(model, [0, 1, 2])

    found = finder.optimal_lr
    assert found is not None
    losses = found.results["loss"]
    assert losses == pytest.approx(quadratic_curve([found.lr(i) for i in range(60)]), rel=1e-9)
    assert found.results["lr"] == [found.lr(i) for i in range(len(losses))]
    assert 20 < len(losses) < 60  # it stopped when the loss diverged, behind the rate 0.2
    assert found.results["lr"][-1] > 0.2


def test_the_suggestion_is_the_learning_rate_of_the_run() -> None:
    finder, model = LearningRateFinder(1.3e-4, 1.0, 60), Quadratic()
    seen: list[Any] = []
    watch = LambdaCallback(
        on_train_batch_start=lambda run, *_: seen.append(run.optimizers[0].param_groups[0]["lr"])
    )

    trainer(finder, watch).fit(model, [0, 1, 2])

    known = LRFinder("exponential", 1.3e-4, 1.0, 60)
    known.results["lr"] = [known.lr(index) for index in range(60)]
    known.results["loss"] = quadratic_curve(known.results["lr"])
    suggested = known.suggestion()
    assert suggested is not None
    assert suggested < 0.2  # where gradient descent converges
    assert model.lr == suggested
    assert seen == [suggested] * 6


@pytest.mark.parametrize("generator", [None, torch.Generator])
def test_nothing_else_is_changed(generator: Any) -> None:
    """Weights, statistics, optimizer, random numbers and the order of the data, bit for bit."""
    ends = []
    for callbacks in ([], [LearningRateFinder(num_training_steps=15, update_attr=False)]):
        data = loader(generator=generator().manual_seed(3) if generator else None)
        run, model = trainer(*callbacks), Network()
        torch.manual_seed(5)
        run.fit(model, data)
        optimizer = run.capture()["optimizer_states"][0]["state"]
        momenta = {str(name): state["momentum_buffer"] for name, state in optimizer.items()}
        ends.append((copied(model), momenta, torch.rand(3), model.rates))
    plain, searched = ends

    assert equal(plain[0], searched[0])
    assert equal(plain[1], searched[1])
    assert torch.equal(plain[2], searched[2])
    assert plain[3] == searched[3] == [0.05] * 8


def test_the_tuner_changes_nothing_but_the_attribute() -> None:
    data, model = loader(generator=torch.Generator().manual_seed(3)), Network()
    before, order = copied(model), data.generator.get_state()
    torch.manual_seed(5)
    run = trainer()

    found = Tuner(run).lr_find(model, data, num_training=30, max_lr=2.0)

    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert equal(copied(model), before)
    assert torch.equal(data.generator.get_state(), order)
    assert found is not None
    assert model.hparams["learning_rate"] == found.suggestion()
    assert run.result is None
    assert run.callbacks == ()


def test_tuner_and_callback_find_the_same() -> None:
    finder = LearningRateFinder(num_training_steps=30, update_attr=False)
    trainer(finder).fit(Quadratic(), [0])

    found = Tuner(trainer()).lr_find(Quadratic(), [0], num_training=30, update_attr=False)

    assert found is not None
    assert finder.optimal_lr is not None
    assert found.results == finder.optimal_lr.results


def step_lr(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)


def warmup(optimizer: Any) -> Any:
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.25, total_iters=3)
    return {"scheduler": scheduler, "interval": "step"}


def cosine(optimizer: Any) -> Any:
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (n + 1))
    return {"scheduler": scheduler, "interval": "step"}


def one_cycle(optimizer: Any) -> Any:
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9)
    return {"scheduler": scheduler, "interval": "step"}


def plateau(optimizer: Any) -> Any:
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return {"scheduler": scheduler, "monitor": "loss"}


@pytest.mark.parametrize("schedule", [step_lr, warmup, cosine, plateau])
def test_a_schedule_follows(schedule: Any) -> None:
    """The rates are those of a run whose module had the suggestion from the start."""
    finder = LearningRateFinder(num_training_steps=20, max_lr=2.0)
    model = Network(schedule)
    trainer(finder).fit(model, loader())
    anew = Network(schedule)
    anew.hparams["learning_rate"] = model.hparams["learning_rate"]

    trainer().fit(anew, loader())

    assert model.rates == pytest.approx(anew.rates, rel=1e-12)
    assert len(set(model.rates)) > 1 or schedule is plateau


@pytest.mark.parametrize("schedule", [step_lr, one_cycle, plateau])
def test_the_search_is_not_scheduled(schedule: Any) -> None:
    results = []
    for one in (None, schedule):
        torch.manual_seed(5)
        found = Tuner(trainer()).lr_find(
            Network(one), loader(), num_training=12, early_stop_threshold=None, update_attr=False
        )
        assert found is not None
        results.append(found.results["lr"])

    assert results[0] == results[1] == [found.lr(i) for i in range(12)]


def test_windows_of_several_batches_have_one_rate() -> None:
    model = Quadratic()

    found = Tuner(trainer(accumulate_grad_batches=2)).lr_find(
        model, [0, 1, 2, 3], min_lr=1e-4, num_training=12, update_attr=False
    )

    assert found is not None
    rates = [found.lr(i) for i in range(12)]
    assert found.results["lr"] == rates
    assert found.results["loss"] == pytest.approx(quadratic_curve(rates), rel=1e-9)


def test_the_data_of_a_datamodule_is_used_and_left_alone() -> None:
    calls: list[str] = []

    class Data:
        def prepare_data(self) -> None:
            calls.append("prepare_data")

        def setup(self, stage: str) -> None:
            calls.append("setup")

        def teardown(self, stage: str) -> None:
            calls.append("teardown")

        def train_dataloader(self) -> Any:
            calls.append("train_dataloader")
            return [1.0, 2.0]

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch * 2

    class Scaled(Quadratic):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return batch * self.w.square()

    finder = LearningRateFinder(1e-6, 1e-5, 2, update_attr=False)

    trainer(finder).fit(Scaled(), datamodule=Data())

    assert calls == ["prepare_data", "setup", "train_dataloader", "teardown"]
    assert finder.optimal_lr is not None
    first, second = finder.optimal_lr.results["loss"]
    assert first == 2.0
    assert second == pytest.approx((0.98 * 2 + 4 * (1 - 4e-6) ** 2) / 1.98)


def test_hooks_see_a_run_of_their_own(caplog: Any) -> None:
    told: list[Any] = []
    logger = LambdaCallback(on_log=lambda metrics, step: told.append(step))

    class Own(Quadratic):
        def configure_callbacks(self) -> Any:
            return [LambdaCallback(on_train_batch_end=lambda *_: told.append("batch"))]

    Tuner(trainer(logger, log_every_n_steps=1)).lr_find(Own(), [0], num_training=5)

    assert told == []


def test_a_run_that_goes_on_has_its_rate() -> None:
    def parts() -> tuple[Any, Any, Any]:
        finder = LearningRateFinder(1e-4, 1.0, 60)
        return finder, trainer(finder), Quadratic()

    finder, run, whole = parts()
    run.fit(whole, [0, 1, 2])
    _, first, model = parts()
    for progress in first.steps(model, [0, 1, 2]):
        if progress.steps == 2:
            break
    state = first.capture()
    again, run, second = parts()
    run.fit(second, [0, 1, 2], ckpt_path=copy.deepcopy(state))

    assert torch.equal(second.w, whole.w)
    assert again.optimal_lr is not None
    assert again.optimal_lr.results == finder.optimal_lr.results
    assert run.optimizers[0].param_groups[0]["lr"] == whole.lr


def test_another_time_to_search() -> None:
    class AtEpochs(LearningRateFinder):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None: ...

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                self.lr_find(trainer, pl_module)

    finder, model = AtEpochs(1e-4, 1.0, 30), Quadratic(0.05)

    trainer(finder).fit(model, [0])

    assert finder.optimal_lr is not None
    assert finder.optimal_lr.results["loss"][0] == pytest.approx(5 * 0.5**2)  # after one step
    assert model.lr == finder.optimal_lr.suggestion()


def test_a_fast_dev_run_searches_nothing(caplog: Any) -> None:
    run = trainer(LearningRateFinder(), fast_dev_run=True)
    run.fit(Quadratic(), [0])

    assert Tuner(trainer(fast_dev_run=True)).lr_find(Quadratic(), [0]) is None
    assert "does nothing in a fast_dev_run" in caplog.text
    assert "Tuner does nothing with a fast_dev_run" in caplog.text


class TwoOptimizers(Quadratic):
    automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [super().configure_optimizers(), super().configure_optimizers()]


class NoRate(nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 1)

    training_step = Quadratic.training_step
    configure_optimizers = Quadratic.configure_optimizers


@pytest.mark.parametrize(
    ("model", "words", "error", "message"),
    [
        (TwoOptimizers, {}, ValueError, "searched for one optimizer. Received 2"),
        (NoRate, {}, AttributeError, "without 'lr' or 'learning_rate'"),
        (Quadratic, {"attr_name": "rate"}, AttributeError, "Received Quadratic without 'rate'"),
        (Quadratic, {"mode": "log"}, ValueError, "mode is 'exponential' or 'linear'"),
        (Quadratic, {"method": "test"}, ValueError, r"searched for a fit\. Received method='test'"),
        (Quadratic, {"method": "fir"}, ValueError, r"Did you mean 'fit'\?"),
        (Quadratic, {"dataloaders": [0]}, ValueError, "Received dataloaders for method='fit'"),
    ],
)
def test_what_can_not_be_searched_is_refused(
    model: Any, words: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        Tuner(trainer()).lr_find(model(), [0], **words)


def test_batches_are_not_taken_from_the_run() -> None:
    with pytest.raises(TypeError, match="can be read once"):
        Tuner(trainer()).lr_find(Quadratic(), iter([0]))
    with pytest.raises(TypeError, match="can be read once"):
        trainer(LearningRateFinder(), max_epochs=1).fit(Quadratic(), iter([0]))


def test_one_search_is_enough() -> None:
    with pytest.raises(ValueError, match="in place of a LearningRateFinder"):
        Tuner(trainer(LearningRateFinder())).lr_find(Quadratic(), [0])


def test_a_module_that_can_not_be_copied_is_named() -> None:
    model = Quadratic()
    model.kept = model.w * 2

    with pytest.raises(RuntimeError, match="Received Quadratic, which"):
        Tuner(trainer()).lr_find(model, [0])
