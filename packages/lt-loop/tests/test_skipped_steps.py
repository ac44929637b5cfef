"""Steps that a loss scaler skips: what is told about them, and what on_nonfinite does then."""

import logging
import math
from typing import Any

import pytest
from guarded import BAD, DATA, KEEPS, WITH_A_BAD_ONE, Keeper, Looking, Shelf
from toys import Line, Loss, batches, by_hand, make_trainer

OVERFLOW = 60000.0


class Scaling(Looking):
    """Scales the loss, and skips what overflows then, as a GradScaler does.

    Attributes:
        kept: how often it was asked to keep its scale.
    """

    kept = 0

    def __init__(self, scale: float = 2.0**17) -> None:
        self.scale = self.used = scale

    def step(self, optimizer: Any, closure: Any) -> bool:
        self.used = self.scale
        slope = optimizer.weight.grad * self.scale
        if math.isfinite(slope) and abs(slope) < OVERFLOW:
            return super().step(optimizer, None)
        optimizer.weight.grad = math.inf  # what became of it while it was scaled
        self.scale /= 2
        return False

    @property
    def loss_scale(self) -> float:
        return self.used

    def keep_loss_scale(self) -> None:
        self.kept += 1
        self.scale = self.used


class Steady(Line):
    """Its gradient is always one: two steps overflow until the scale is 2**15."""

    def loss(self, batch: Any) -> Loss:
        return Loss(self.weight, 1.0, 1.0)


def fit(backend: Any, action: Any, program: Any, data: Any, **words: Any) -> Any:
    words = KEEPS | {"max_epochs": 1} | words
    return make_trainer(backend=backend, on_nonfinite=action, **words).fit(program, data)


def told(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == level]


@pytest.mark.parametrize("action", [None, "raise", "skip", "rollback"])
def test_one_that_overflowed_is_noted_whatever_was_asked_for(
    action: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lt_loop")
    program, plain, keeper = Steady(), Steady(), Keeper(1)
    result = fit(Scaling(), action, program, DATA, callbacks=keeper, store=Shelf(keeper))

    assert (result.progress.steps, result.progress.skipped_steps) == (4, 2)
    fit(Looking(), None, plain, DATA[2:])
    assert program.weight.value == plain.weight.value
    notes = [line for line in told(caplog, logging.INFO) if "skipped" in line]
    assert notes == [
        f"The gradient of weight is not finite at step 0, batch {n} of epoch 0. The step is "
        f"skipped, with a loss scale of {2.0 ** (17 - n):g}."
        for n in range(2)
    ]
    assert not told(caplog, logging.WARNING)


def test_a_loss_that_is_not_finite_is_not_the_fault_of_the_scale(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Scaling(2.0)
    program = Line()
    result = fit(backend, "skip", program, WITH_A_BAD_ONE)

    assert program.weight.value == by_hand(DATA)
    assert (result.progress.steps, result.progress.skipped_steps) == (6, 1)
    assert (backend.kept, backend.scale) == (1, 2.0)
    (line,) = told(caplog, logging.WARNING)
    assert line == (
        "The loss and the gradient of weight are not finite at step 3, batch 3 of epoch 0. "
        "on_nonfinite='skip'"
    )
    with pytest.raises(FloatingPointError, match="The loss and the gradient of weight are not"):
        fit(Scaling(2.0), "raise", Line(), WITH_A_BAD_ONE)


def test_it_is_rolled_back_where_that_was_asked_for() -> None:
    keeper, program = Keeper(1), Line()
    more = {"callbacks": keeper, "store": Shelf(keeper)}
    result = fit(Scaling(2.0), "rollback", program, WITH_A_BAD_ONE, **more)

    assert program.weight.value == by_hand(DATA)
    assert (result.progress.steps, result.progress.skipped_steps) == (6, 0)


def test_nobody_asked_and_the_loss_is_not_finite(caplog: pytest.LogCaptureFixture) -> None:
    backend = Scaling(2.0)
    fit(backend, None, Line(), WITH_A_BAD_ONE)
    (line,) = told(caplog, logging.WARNING)
    assert line.endswith("batch 3 of epoch 0. The step is skipped, with a loss scale of 2.")
    assert (backend.kept, backend.scale) == (0, 1.0), "as torch's scaler has it"


class Steep(Line):
    """Its loss is finite, and its gradient never is."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return Loss(self.weight, 1.0, math.inf)


def test_a_scale_of_one_is_not_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FloatingPointError, match=r"^The gradient of weight is not.* batch 16 of"):
        fit(Scaling(2.0**16), "raise", Steep(), batches(40))
    assert not told(caplog, logging.WARNING)


@pytest.mark.parametrize("action", [None, "skip"])
def test_a_run_whose_every_step_is_skipped_ends(
    action: Any, caplog: pytest.LogCaptureFixture
) -> None:
    message = r"down to 6\.10352e-05\. The gradient of weight is not finite at step 0, batch 30 of"
    with pytest.raises(FloatingPointError, match=message):
        fit(Scaling(2.0**16), action, Steep(), batches(40))
    warnings = told(caplog, logging.WARNING)
    assert "batch 16" in warnings[0]
    assert len(warnings) == 14


def test_a_window_is_named_with_all_its_batches(caplog: pytest.LogCaptureFixture) -> None:
    data = [*DATA[:2], BAD, DATA[3]]
    fit(Scaling(2.0), None, Line(), data, accumulate_grad_batches=2)
    (line,) = told(caplog, logging.WARNING)
    assert "The loss and the gradient of weight are not finite at step 1, batches 2 to 3" in line


class Manual(Steady):
    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.trainer.stepped_optimizers[0]
        optimizer.zero_grad()
        self.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad()


class Own(Steady):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
        optimizer.step(closure)


@pytest.mark.parametrize("program", [Own(), Manual()])
def test_it_is_noted_where_the_program_steps(
    program: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lt_loop")
    fit(Scaling(), None, program, DATA)
    notes = [line for line in told(caplog, logging.INFO) if "skipped" in line]
    assert len(notes) == 2
    assert notes[1].startswith("The gradient of weight is not finite at step 0, batch 1 of epoch 0")


def test_it_is_noted_where_the_backend_tells_no_scale(caplog: pytest.LogCaptureFixture) -> None:
    class Silent(Looking):
        def step(self, optimizer: Any, closure: Any) -> bool:
            return math.isfinite(optimizer.weight.grad) and super().step(optimizer, closure)

    caplog.set_level(logging.INFO, "lt_loop")
    fit(Silent(), None, Line(), WITH_A_BAD_ONE)
    (line,) = [line for line in told(caplog, logging.INFO) if "skipped" in line]
    assert line.endswith("batch 3 of epoch 0. The step is skipped.")
