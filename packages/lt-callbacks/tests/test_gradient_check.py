"""GradientCheck in real runs of a small network."""

import logging
import math
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks import GradientCheck
from lt_loop import Callback, Trainer
from lt_loop.solo import DuckBackend

NAMES = ["0.weight", "0.bias", "2.weight", "2.bias"]


class Network(nn.Sequential):
    """Three layers; ``spoil`` is called with the batch index and the output of the first."""

    trainer: Any = None

    def __init__(self, spoil: Any = None) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        self.spoil = spoil or (lambda index, hidden: hidden)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        hidden = self.spoil(self.trainer.progress.batches, self[1](self[0](batch)))
        return self[2](hidden).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Listener(Callback):
    """A logger that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, dict[str, float]]] = []

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        self.heard.append((step, {k: v for k, v in metrics.items() if k != "epoch"}))


@pytest.fixture
def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, 4, generator=generator) for _ in range(6)]


def fit(program: Any, batches: list[Any], *callbacks: Any, **words: Any) -> Any:
    words = {"max_epochs": 1, "log_every_n_steps": 1, "backend": DuckBackend()} | words
    trainer = Trainer(callbacks=list(callbacks), logger=False, enable_progress_bar=False, **words)
    return trainer.fit(program, batches)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "lt_callbacks"]


def norms_by_hand(batches: list[Any], accumulate: int = 1) -> list[dict[str, float]]:
    """The norms of each step's gradients in a plain loop."""
    model = Network()
    optimizer, found = model.configure_optimizers(), []
    for start in range(0, len(batches), accumulate):
        window = batches[start : start + accumulate]
        loss = sum(model[2](model[1](model[0](b))).square().mean() / len(window) for b in window)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        norms = [float(torch.linalg.vector_norm(gradient)) for gradient in gradients]
        found.append({f"grad_norm/{n}": v for n, v in zip(NAMES, norms, strict=True)})
        found[-1]["grad_norm_total"] = math.sqrt(sum(norm**2 for norm in norms))
        optimizer.step()
    return found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_norms_of_every_step_are_logged(batches: list[Any], accumulate: int) -> None:
    listener = Listener()

    fit(Network(), batches, GradientCheck(1), listener, accumulate_grad_batches=accumulate)

    by_hand = norms_by_hand(batches, accumulate)
    assert [step for step, _ in listener.heard] == list(range(len(by_hand)))
    for (_, heard), expected in zip(listener.heard, by_hand, strict=True):
        assert heard == pytest.approx(expected, rel=1e-5)


def test_every_nth_step_is_looked_at(batches: list[Any]) -> None:
    listener = Listener()

    fit(Network(), batches, GradientCheck(3), listener)

    assert [step for step, _ in listener.heard] == [2, 5]


@pytest.mark.parametrize(
    ("log_norms", "names"), [("total", {"grad_norm_total"}), ("nothing", set())]
)
def test_less_may_be_logged(batches: list[Any], log_norms: Any, names: set[str]) -> None:
    listener = Listener()

    fit(Network(), batches, GradientCheck(1, log_norms=log_norms), listener)

    assert {name for _, heard in listener.heard for name in heard} == names


def test_the_run_is_the_same_to_the_last_bit(batches: list[Any]) -> None:
    plain, checked = Network(), Network()

    fit(plain, batches, max_epochs=3)
    fit(checked, batches, GradientCheck(1), max_epochs=3)

    assert all(map(torch.equal, plain.parameters(), checked.parameters()))


def nan_behind(hidden: Any) -> Any:
    """The same values, whose gradient is not finite: the square root's at zero."""
    return hidden + (hidden - hidden).abs().sqrt()


def nan_at(index: int) -> Any:
    return lambda batch, hidden: nan_behind(hidden) if batch == index else hidden


def test_the_layer_at_which_nan_appears_is_named(batches: list[Any]) -> None:
    result = fit(Network(nan_at(2)), batches, GradientCheck(1))

    assert result.reason == (
        "the gradient of 0.bias is not finite (norm nan), in 2 of 4 layers, at step 2"
    )
    assert result.progress.steps == 3


def test_an_error_may_be_raised(batches: list[Any]) -> None:
    with pytest.raises(FloatingPointError, match=r"gradient of 0\.bias is not finite.* at step 2$"):
        fit(Network(nan_at(2)), batches, GradientCheck(1, if_non_finite="raise"))


def test_a_warning_is_given_once_until_the_layer_recovers(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    scales = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    program = Network(lambda batch, hidden: hidden * scales[batch])
    check = GradientCheck(1, vanishing_below=1e-6, log_norms="nothing")

    result = fit(program, batches, check)

    assert result.reason == "max_epochs=1 reached"
    assert [r.levelno for r in caplog.records if r.name == "lt_callbacks"] == [logging.WARNING] * 2
    assert [message.rpartition(" step ")[2] for message in told(caplog)] == ["1", "4"]
    assert told(caplog)[0].startswith(
        "GradientCheck: the gradient of 0.weight vanishes: its norm 0 is below "
        "vanishing_below=1e-06, in 3 of 4 layers"
    )


def test_exploding_gradients_are_found(batches: list[Any]) -> None:
    program = Network(lambda batch, hidden: hidden * (1e4 if batch == 1 else 1.0))

    result = fit(program, batches, GradientCheck(1, if_exploding="stop"))

    assert "of 2.weight explodes: its norm" in result.reason
    assert result.reason.endswith("is above exploding_above=1000, in 3 of 4 layers, at step 1")


def test_of_several_reasons_to_stop_the_gravest_is_given(batches: list[Any]) -> None:
    check = GradientCheck(1, exploding_above=1e-6, if_exploding="stop")

    result = fit(Network(nan_at(0)), batches, check)

    assert result.reason.startswith("the gradient of 0.bias is not finite")


def test_log_does_no_more_than_log(batches: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    check = GradientCheck(1, if_non_finite="log", if_vanishing="log", if_exploding="log")

    result = fit(Network(nan_at(0)), batches, check, listener)

    assert result.reason == "max_epochs=1 reached"
    assert told(caplog) == []
    assert math.isnan(listener.heard[0][1]["grad_norm/0.bias"])


class Scaling(DuckBackend):
    """A backend that scales the loss, and skips a step whose gradients are not finite."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.unscaled: set[int] = set()

    def backward(self, loss: Any, *, sync: bool) -> None:
        (loss * self.scale).backward()
        self.unscaled.clear()

    def clip(self, optimizer: Any, value: float | None, algorithm: Any) -> None:
        if id(optimizer) not in self.unscaled:
            for parameter in optimizer.param_groups[0]["params"]:
                parameter.grad /= self.scale
        self.unscaled.add(id(optimizer))

    def step(self, optimizer: Any, closure: Any) -> bool:
        self.clip(optimizer, None, "norm")
        gradients = [parameter.grad for parameter in optimizer.param_groups[0]["params"]]
        if not all(gradient.isfinite().all() for gradient in gradients):
            return False
        optimizer.step()
        return True


def test_norms_are_in_their_true_scale(batches: list[Any]) -> None:
    listener = Listener()

    fit(Network(), batches, GradientCheck(1), listener, backend=Scaling(2.0**10))

    for (_, heard), expected in zip(listener.heard, norms_by_hand(batches), strict=True):
        assert heard == pytest.approx(expected, rel=1e-5)


def test_a_step_that_a_loss_scaler_skips_is_its_business(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()

    result = fit(Network(nan_at(2)), batches, GradientCheck(1), listener, backend=Scaling(2.0))

    assert (result.progress.steps, result.progress.skipped_steps) == (5, 1)
    assert result.reason == "max_epochs=1 reached"
    assert told(caplog) == []
    assert [step for step, _ in listener.heard] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("every", "skipped"), [(1, 16), (4, 17), (50, 100)])
def test_a_loss_scaler_that_skips_for_ever_is_not_let_off(
    batches: list[Any], every: int, skipped: int
) -> None:
    """Also where the step that is skipped is none of those that are looked at."""
    program = Network(lambda batch, hidden: nan_behind(hidden) if batch >= 2 else hidden)

    result = fit(program, batches, GradientCheck(every), backend=Scaling(2.0), max_epochs=30)

    assert result.progress.steps == 2
    assert "the gradient of 0.bias is not finite" in result.reason
    assert "(a loss scaler has skipped" in result.reason
    assert result.progress.skipped_steps <= skipped + every
    assert all(map(math.isfinite, result.metrics.values()))


class TwoOptimizers(Network):
    """One for the first layer, one for the last, stepped by hand."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers = self.trainer.stepped_optimizers
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.trainer.backward(super().training_step(batch, batch_idx))
        for optimizer in optimizers:
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.05) for part in (self[0], self[2])]


def test_several_optimizers_are_looked_at_together(batches: list[Any]) -> None:
    listener = Listener()

    fit(TwoOptimizers(), batches, GradientCheck(1), listener)

    for (_, heard), expected in zip(listener.heard, norms_by_hand(batches), strict=True):
        assert heard == pytest.approx(expected, rel=1e-5)


def test_of_several_optimizers_one_alone_may_be_skipped(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    listener, program = Listener(), TwoOptimizers(nan_at(2))

    result = fit(program, batches, GradientCheck(1), listener, backend=Scaling(2.0))

    assert (result.progress.steps, result.reason) == (6, "max_epochs=1 reached")
    assert told(caplog) == []
    looked_at = [set(heard) - {"grad_norm_total"} for _, heard in listener.heard]
    everywhere = {f"grad_norm/{name}" for name in NAMES}
    last_layer = {name for name in everywhere if name.startswith("grad_norm/2.")}
    assert looked_at == [everywhere] * 2 + [last_layer] + [everywhere] * 3


def test_nan_that_one_of_several_optimizers_stepped_with_is_found(batches: list[Any]) -> None:
    result = fit(TwoOptimizers(nan_at(2)), batches, GradientCheck(1))

    assert result.reason.startswith("the gradient of 0.bias is not finite (norm nan), in 2 of 4")


def test_the_optimizers_are_let_go_of_also_after_an_exception(batches: list[Any]) -> None:
    class Failing(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                raise RuntimeError("out of luck")
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self) -> Any:
            self.optimizer = super().configure_optimizers()
            return self.optimizer

    program = Failing()
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(program, batches, GradientCheck(1))

    assert not program.optimizer._optimizer_step_post_hooks


class Plain:
    """An optimizer that is none of torch's."""

    def __init__(self, optimizer: Any) -> None:
        self.param_groups, self._optimizer = optimizer.param_groups, optimizer

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    def step(self) -> None:
        self._optimizer.step()


@pytest.mark.parametrize("scale", [None, 2.0])
def test_other_optimizers_than_torchs_are_looked_at_too(
    batches: list[Any], scale: float | None
) -> None:
    class Other(Network):
        def configure_optimizers(self) -> Any:
            return Plain(super().configure_optimizers())

    backend = Scaling(scale) if scale else DuckBackend()
    result = fit(Other(nan_at(2)), batches, GradientCheck(1), backend=backend)

    assert ("0.bias is not finite" in result.reason) == (scale is None)
    assert result.progress.steps == (3 if scale is None else 5)


def test_an_optimizer_that_evaluates_the_loss_several_times_is_looked_at_once(
    batches: list[Any],
) -> None:
    class Closure(Network):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), max_iter=3)

    listener = Listener()
    fit(Closure(), batches[:2], GradientCheck(1), listener)

    assert [step for step, _ in listener.heard] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": 0}, r"at least 1\. Received every_n_steps=0"),
        ({"if_non_finite": "stopp"}, r"if_non_finite is one of 'log'.*Did you mean 'stop'\?"),
        ({"log_norms": "all"}, r"log_norms is one of 'layers', 'total', 'nothing'"),
        ({"vanishing_below": 1.0, "exploding_above": 0.5}, r"must be less than exploding_above"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientCheck(**arguments)
