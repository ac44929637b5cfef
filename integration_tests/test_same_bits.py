"""A run computes what the plain PyTorch loop that it replaces computes, bit for bit."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt
from lt_data import TorchFeed

EPOCHS = 3
Optimizers = tuple[torch.optim.Optimizer, Any]


def no_schedule(make: Callable[[Any], torch.optim.Optimizer]) -> Callable[[Any], Optimizers]:
    return lambda parameters: (make(parameters), None)


def adam_with_schedule(parameters: Any) -> Optimizers:
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=30)


@dataclass
class Case:
    """One way to train, for the engine and for the loop alike."""

    make: Callable[[Any], Optimizers]
    accumulate: int = 1
    clip_norm: float | None = None
    clip_value: float | None = None
    autocast: torch.dtype | None = None
    dtype: torch.dtype = torch.float32
    words: dict[str, Any] = field(default_factory=dict)
    batches: int = 10


SGD = no_schedule(lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9))
ADAM = no_schedule(lambda p: torch.optim.Adam(p, lr=1e-2))
CASES = {
    "plain SGD": Case(SGD),
    "Adam with schedule": Case(adam_with_schedule),
    "accumulation 3 over 10 batches": Case(
        ADAM, accumulate=3, words={"accumulate_grad_batches": 3}
    ),
    "clipping by norm": Case(ADAM, clip_norm=0.1, words={"gradient_clip_val": 0.1}),
    "clipping by value": Case(
        ADAM,
        clip_value=0.01,
        words={"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    ),
    "bf16-mixed": Case(ADAM, autocast=torch.bfloat16, words={"precision": "bf16-mixed"}),
    "64-true": Case(ADAM, dtype=torch.float64, words={"precision": "64-true"}),
    "everything at once": Case(
        adam_with_schedule,
        accumulate=3,
        clip_norm=0.1,
        autocast=torch.bfloat16,
        words={
            "accumulate_grad_batches": 3,
            "gradient_clip_val": 0.1,
            "precision": "bf16",
        },
    ),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))


def loader(case: Case) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4 * case.batches, 8, generator=generator)
    y = torch.randn(4 * case.batches, 1, generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True)


def windows(batches: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(batches), size):
        yield batches[start : start + size]


def trained_by_hand(case: Case) -> nn.Module:
    net = network().to(case.dtype)
    optimizer, schedule = case.make(net.parameters())
    data = loader(case)
    torch.manual_seed(2)
    for _ in range(EPOCHS):
        for window in windows([[part.to(case.dtype) for part in b] for b in data], case.accumulate):
            optimizer.zero_grad()
            for x, y in window:
                context: AbstractContextManager[Any] = nullcontext()
                if case.autocast is not None:
                    context = torch.autocast("cpu", dtype=case.autocast)
                with context:
                    loss = nn.functional.mse_loss(net(x), y)
                (loss / len(window) if case.accumulate > 1 else loss).backward()
            if case.clip_norm is not None:
                nn.utils.clip_grad_norm_(net.parameters(), case.clip_norm)
            if case.clip_value is not None:
                nn.utils.clip_grad_value_(net.parameters(), case.clip_value)
            optimizer.step()
            if schedule is not None and schedule.last_epoch < schedule.total_steps:
                schedule.step()
    return net


class Module(lt.LTModule):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.net = network()
        self.case = case

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.case.make(self.parameters())
        if schedule is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def quiet(**words: Any) -> lt.Trainer:
    # The loop by hand shuffles as torch does, from its global generator.
    defaults: dict[str, Any] = {"accelerator": "cpu", "feed": TorchFeed(order="torch")}
    return lt.Trainer(**{**defaults, "logger": False, "enable_progress_bar": False, **words})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_run_equals_the_loop_written_by_hand(case: Case) -> None:
    expected = trained_by_hand(case)
    module, data = Module(case), loader(case)
    torch.manual_seed(2)

    result = quiet(max_epochs=EPOCHS, **case.words).fit(module, data)

    assert result.progress.batches == EPOCHS * case.batches
    for name, weight in expected.state_dict().items():
        assert torch.equal(module.net.state_dict()[name], weight), name


def test_validating_and_logging_change_no_bit() -> None:
    """Neither the sanity check nor validation with its own shuffling draws from the run's luck."""
    case = CASES["plain SGD"]
    expected = trained_by_hand(case)

    class Validated(Module):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            self.log("val_loss", nn.functional.mse_loss(self.net(x), y))

    module, data = Validated(case), loader(case)
    held_out = [next(iter(loader(case)))]
    torch.manual_seed(2)

    quiet(max_epochs=EPOCHS).fit(module, data, held_out)

    for name, weight in expected.state_dict().items():
        assert torch.equal(module.net.state_dict()[name], weight), name


def test_evaluating_a_state_draws_nothing_from_the_random_generators() -> None:
    case = CASES["plain SGD"]
    batches = list(loader(case))
    trainer = quiet(max_epochs=1)
    trainer.fit(Module(case), batches)
    state, fresh = trainer.capture(), Module(case)
    fresh.predict_step = lambda batch, batch_idx: fresh.net(batch[0])

    torch.manual_seed(3)
    quiet().predict(fresh, batches, ckpt_path=state)
    drawn = torch.rand(3)

    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    for name, weight in state["state_dict"].items():
        assert torch.equal(fresh.state_dict()[name], weight), name
