"""LearningRateMonitor against schedulers stepped by hand."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks import LearningRateMonitor
from lt_loop import Callback, Trainer
from lt_loop.solo import DuckBackend

Schedulers = Callable[[Any], Any]


class Listener(Callback):
    """A logger that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str, float]] = []

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        self.heard += [(step, name, value) for name, value in metrics.items() if name != "epoch"]

    def of(self, name: str) -> list[tuple[int, float]]:
        return [(step, value) for step, heard, value in self.heard if heard == name]


class Program(nn.Linear):
    trainer: Any = None

    def __init__(self, configure: Callable[[Any], Any]) -> None:
        super().__init__(2, 1)
        self.configure = configure

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return self.configure(self)


def fit(configure: Callable[[Any], Any], monitor: LearningRateMonitor, **words: Any) -> Listener:
    listener = Listener()
    words = {"max_epochs": 3, "log_every_n_steps": 1} | words
    trainer = Trainer(
        backend=DuckBackend(),
        logger=listener,
        callbacks=monitor,
        enable_progress_bar=False,
        **words,
    )
    trainer.fit(Program(configure), [torch.ones(1, 2)] * 4)
    return listener


def scheduled(make: Schedulers, interval: str, **more: Any) -> Callable[[Any], Any]:
    def configure(program: Any) -> Any:
        optimizer = torch.optim.SGD(program.parameters(), lr=0.1)
        schedule = {"scheduler": make(optimizer), "interval": interval, **more}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    return configure


def by_hand(make: Schedulers, count: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler, rates = make(optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


MAKERS: list[Schedulers] = [
    lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5),
    lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=5),
    lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=12),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("logging_interval", [None, "step"])
def test_each_step_is_logged_with_the_rate_it_used(make: Schedulers, logging_interval: Any) -> None:
    listener = fit(scheduled(make, "step"), LearningRateMonitor(logging_interval))

    assert listener.of("lr-SGD") == list(enumerate(by_hand(make, 12)))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("logging_interval", [None, "epoch"])
def test_each_epoch_is_logged_with_the_rate_it_used(
    make: Schedulers, logging_interval: Any
) -> None:
    listener = fit(scheduled(make, "epoch"), LearningRateMonitor(logging_interval))

    assert listener.of("lr-SGD") == list(zip([3, 7, 11], by_hand(make, 3), strict=True))


def test_logged_by_epochs_a_rate_that_changes_in_it_is_that_of_its_first_step() -> None:
    listener = fit(scheduled(MAKERS[0], "step"), LearningRateMonitor("epoch"))

    assert [rate for _, rate in listener.of("lr-SGD")] == by_hand(MAKERS[0], 12)[::4]


def test_only_steps_that_are_logged_are_looked_at() -> None:
    monitor = LearningRateMonitor("step")

    listener = fit(scheduled(MAKERS[0], "step"), monitor, log_every_n_steps=5)

    rates = by_hand(MAKERS[0], 12)
    assert listener.of("lr-SGD") == [(4, rates[4]), (9, rates[9])]
    assert monitor.lrs == {"lr-SGD": [rates[4], rates[9]]}


def test_with_accumulation_it_is_the_rate_of_the_step() -> None:
    listener = fit(scheduled(MAKERS[0], "step"), LearningRateMonitor(), accumulate_grad_batches=2)

    assert listener.of("lr-SGD") == list(enumerate(by_hand(MAKERS[0], 6)))


def test_a_schedules_name_and_those_of_groups_are_used() -> None:
    def configure(program: Any) -> Any:
        groups = [
            {"params": [program.weight], "lr": 0.5, "name": "weights"},
            {"params": [program.bias]},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.25)
        scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "name": "mine"}}

    listener = fit(configure, LearningRateMonitor("step"), max_epochs=1)

    assert {value for _, value in listener.of("mine/weights")} == {0.5}
    assert {value for _, value in listener.of("mine/pg2")} == {0.25}


def test_without_a_schedule_the_optimizers_rate_is_logged() -> None:
    listener = fit(
        lambda program: torch.optim.Adam(program.parameters(), lr=0.125),
        LearningRateMonitor(),
        max_epochs=1,
    )

    assert listener.of("lr-Adam") == [(step, 0.125) for step in range(4)]


def test_momentum_and_weight_decay_are_logged_on_request() -> None:
    monitor = LearningRateMonitor("step", log_momentum=True, log_weight_decay=True)

    listener = fit(
        lambda program: torch.optim.AdamW(
            program.parameters(), betas=(0.75, 0.9), weight_decay=0.5
        ),
        monitor,
        max_epochs=1,
    )

    assert listener.of("lr-AdamW-momentum") == [(step, 0.75) for step in range(4)]
    assert listener.of("lr-AdamW-weight_decay") == [(step, 0.5) for step in range(4)]
    assert monitor.last_momentum_values == {"lr-AdamW-momentum": 0.75}
    assert monitor.last_weight_decay_values == {"lr-AdamW-weight_decay": 0.5}


def test_cycled_momentum_is_that_of_the_scheduler_by_hand() -> None:
    def make(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=12)

    def configure(program: Any) -> Any:
        optimizer = torch.optim.SGD(program.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [{"scheduler": make(optimizer), "interval": "step"}]

    listener = fit(configure, LearningRateMonitor(log_momentum=True))

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    scheduler, expected = make(optimizer), []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    assert listener.of("lr-SGD-momentum") == list(enumerate(expected))


def test_an_optimizer_without_momentum_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    listener = fit(
        lambda program: torch.optim.Adagrad(program.parameters()),
        LearningRateMonitor("step", log_momentum=True),
        max_epochs=1,
    )

    assert {value for _, value in listener.of("lr-Adagrad-momentum")} == {0.0}
    assert [r.levelno for r in caplog.records if r.name == "lt_callbacks"] == [logging.WARNING]


def test_a_rate_in_a_tensor_is_logged_as_it_was_in_the_step() -> None:
    """Schedulers change it in place, before what was logged is read."""

    def configure(program: Any) -> Any:
        optimizer = torch.optim.Adam(program.parameters(), lr=torch.tensor(0.5))
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    listener = fit(configure, LearningRateMonitor(), max_epochs=1)

    assert listener.of("lr-Adam") == [(0, 0.5), (1, 0.25), (2, 0.125), (3, 0.0625)]


def test_groups_that_are_added_later_are_logged_from_then_on() -> None:
    class Thaw(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                trainer.optimizers[0].add_param_group({"params": [pl_module.bias], "lr": 0.5})

    listener, monitor = Listener(), LearningRateMonitor("step")
    program = Program(lambda p: torch.optim.SGD([p.weight], lr=0.25))
    Trainer(
        backend=DuckBackend(),
        logger=listener,
        callbacks=[Thaw(), monitor],
        enable_progress_bar=False,
        max_epochs=2,
        log_every_n_steps=1,
    ).fit(program, [torch.ones(1, 2)] * 2)

    assert listener.of("lr-SGD") == [(0, 0.25), (1, 0.25)]
    assert listener.of("lr-SGD/pg1") == [(2, 0.25), (3, 0.25)]
    assert listener.of("lr-SGD/pg2") == [(2, 0.5), (3, 0.5)]


def test_the_values_can_be_monitored() -> None:
    seen: list[float] = []

    class Reader(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            seen.append(float(trainer.callback_metrics["lr-SGD"]))

    trainer = Trainer(
        backend=DuckBackend(),
        logger=Listener(),
        callbacks=[LearningRateMonitor(), Reader()],
        enable_progress_bar=False,
        max_epochs=1,
        log_every_n_steps=1,
    )
    trainer.fit(Program(scheduled(MAKERS[0], "step")), [torch.ones(1, 2)] * 3)

    # as reading is after the step's schedule, the value is still the one that the step used
    assert seen == by_hand(MAKERS[0], 3)


def test_each_fit_begins_anew() -> None:
    monitor = LearningRateMonitor("step")
    fit(scheduled(MAKERS[0], "step"), monitor)

    fit(scheduled(MAKERS[1], "step"), monitor, max_epochs=1)

    assert monitor.lrs == {"lr-SGD": by_hand(MAKERS[1], 4)}


def test_without_a_logger_it_is_refused() -> None:
    trainer = Trainer(
        backend=DuckBackend(),
        logger=False,
        callbacks=LearningRateMonitor(),
        enable_progress_bar=False,
        max_epochs=1,
    )
    program = Program(lambda p: torch.optim.SGD(p.parameters(), lr=0.1))

    with pytest.raises(ValueError, match=r"writes to loggers\. Received a Trainer without one"):
        trainer.fit(program, [torch.ones(1, 2)])


def test_in_a_fast_dev_run_it_needs_no_logger() -> None:
    trainer = Trainer(
        backend=DuckBackend(),
        logger=False,
        callbacks=LearningRateMonitor(),
        enable_progress_bar=False,
        fast_dev_run=True,
    )
    program = Program(lambda p: torch.optim.SGD(p.parameters(), lr=0.1))

    assert trainer.fit(program, [torch.ones(1, 2)]).progress.steps == 1


def test_a_misspelt_interval_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Received logging_interval='epochs'\. Did you mean"):
        LearningRateMonitor("epochs")  # type: ignore[arg-type]
