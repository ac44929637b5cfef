import pytest
import torch
from torch import nn

from lt_accel.scaling import LossScaler


def models_and_optimizers() -> list[tuple[nn.Module, torch.optim.Optimizer]]:
    torch.manual_seed(0)
    models = [nn.Linear(3, 1), nn.Linear(3, 1)]
    return [(model, torch.optim.SGD(model.parameters(), lr=0.1)) for model in models]


@pytest.mark.parametrize("overflow", [False, True])
def test_two_optimizers_of_one_iteration_share_a_scale(overflow: bool) -> None:
    """As torch's documentation has it: one update, after all steps of the iteration."""
    x = torch.ones(2, 3)
    losses_of = [lambda m: m(x).sum() * (1e38 if overflow else 1.0), lambda m: m(x).sum()]
    by_hand, ours = models_and_optimizers(), models_and_optimizers()
    reference = torch.amp.GradScaler("cpu")
    for _ in range(3):
        for (model, optimizer), loss_of in zip(by_hand, losses_of, strict=True):
            optimizer.zero_grad()
            reference.scale(loss_of(model)).backward()
        for _, optimizer in by_hand:
            reference.step(optimizer)
        reference.update()
    scaler = LossScaler("cpu")
    for _ in range(3):
        for (model, optimizer), loss_of in zip(ours, losses_of, strict=True):
            optimizer.zero_grad()
            scaler.backward(loss_of(model))
        assert [scaler.step(optimizer) for _, optimizer in ours] == [not overflow, True]
    for (expected, _), (model, _) in zip(by_hand, ours, strict=True):
        assert torch.equal(model.weight, expected.weight)
    assert scaler.state_dict() == reference.state_dict()


def test_stepping_twice_for_one_backward_is_an_error() -> None:
    (model, optimizer), _ = models_and_optimizers()
    scaler = LossScaler("cpu")
    scaler.backward(model(torch.ones(1, 3)).sum())
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)


def test_the_scale_grows_as_torchs_does() -> None:
    (model, optimizer), (twin, twin_optimizer) = models_and_optimizers()
    scaler, reference = LossScaler("cpu"), torch.amp.GradScaler("cpu")
    state = {**reference.state_dict(), "growth_interval": 2}
    scaler.load_state_dict(state)
    reference.load_state_dict(state)
    for _ in range(5):
        scaler.backward(model(torch.ones(1, 3)).sum())
        scaler.step(optimizer)
        reference.scale(twin(torch.ones(1, 3)).sum()).backward()
        reference.step(twin_optimizer)
        reference.update()
    assert scaler.state_dict() == reference.state_dict()
    assert scaler.state_dict()["scale"] == 2.0**18


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_scale_that_is_kept_is_as_if_the_step_had_not_been(asked_before: bool) -> None:
    """Its growth included: the step after it is the second one in a row, and lets it grow."""
    (model, optimizer), _ = models_and_optimizers()
    scaler = LossScaler("cpu")
    scaler.load_state_dict({**scaler.state_dict(), "growth_interval": 2})
    for factor in (1.0, float("nan"), 1.0):
        optimizer.zero_grad()
        scaler.backward(model(torch.ones(1, 3)).sum() * factor)
        if asked_before:
            assert scaler.overflowed(optimizer) == (factor != 1)
        assert scaler.step(optimizer) == (factor == 1)
        assert scaler.scale == 2.0**16, "the factor of the gradients there are"
        if factor != 1:
            scaler.keep_scale()
    assert scaler.state_dict()["scale"] == 2.0**17


def test_a_step_that_was_judged_and_not_taken_is_forgotten() -> None:
    (model, optimizer), _ = models_and_optimizers()
    scaler = LossScaler("cpu")
    for factor, overflows in ((float("nan"), True), (1.0, False)):
        optimizer.zero_grad()
        scaler.backward(model(torch.ones(1, 3)).sum() * factor)
        assert scaler.overflowed(optimizer) == overflows
    assert scaler.scale == 2.0**15
    assert scaler.step(optimizer)


def test_what_was_unscaled_and_not_stepped_is_forgotten() -> None:
    """A loop looks at the gradients, drops them and goes on."""
    (model, optimizer), (twin, _) = models_and_optimizers()
    x = torch.ones(1, 3)
    twin.load_state_dict(model.state_dict())
    twin(x).sum().backward()
    scaler = LossScaler("cpu")
    for _ in range(2):
        optimizer.zero_grad()
        scaler.backward(model(x).sum())
        scaler.unscale(optimizer)
        assert torch.equal(model.weight.grad, twin.weight.grad)


@pytest.mark.parametrize("unscaled_first", [False, True])
def test_gradients_gathered_over_a_change_of_scale_are_of_one_scale(unscaled_first: bool) -> None:
    """One optimizer gathers over two iterations while the other overflows, and steps."""
    (model, optimizer), (other, others) = models_and_optimizers()
    (twin, _), _ = models_and_optimizers()
    scaler = LossScaler("cpu", [optimizer, others])
    x = torch.tensor([[1.0, 2.0, 3.0]])
    scaler.backward(model(x).sum())
    if unscaled_first:
        scaler.unscale(optimizer)
    scaler.backward(other(x).sum() * 1e38)
    assert not scaler.step(others)
    others.zero_grad()
    scaler.backward(other(x).sum())
    assert scaler.step(others)
    assert scaler.scale == 2.0**15
    if not unscaled_first:
        scaler.backward(model(x).sum())
        twin(x).sum().backward()
    twin(x).sum().backward()

    scaler.unscale(optimizer)
    assert torch.equal(model.weight.grad, twin.weight.grad)
    assert scaler.step(optimizer)
