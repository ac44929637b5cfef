import pytest
import torch
from torch import nn

from lt_accel import TorchBackend
from lt_accel.gradients import clip, drop, parameters_of


def two_groups() -> tuple[list[nn.Linear], torch.optim.Optimizer]:
    torch.manual_seed(0)
    layers = [nn.Linear(3, 2), nn.Linear(2, 2)]
    return layers, torch.optim.SGD([{"params": layer.parameters()} for layer in layers], lr=0.1)


def fill(layers: list[nn.Linear]) -> None:
    generator = torch.Generator().manual_seed(1)
    for layer in layers:
        for parameter in layer.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)


def gradients(layers: list[nn.Linear]) -> list[torch.Tensor]:
    return [p.grad for layer in layers for p in layer.parameters() if p.grad is not None]


def test_parameters_come_in_the_order_of_the_groups() -> None:
    layers, optimizer = two_groups()
    expected = [p for layer in layers for p in layer.parameters()]
    assert all(a is b for a, b in zip(parameters_of(optimizer), expected, strict=True))


def test_drop_leaves_none() -> None:
    layers, optimizer = two_groups()
    fill(layers)
    drop(optimizer)
    assert gradients(layers) == []


@pytest.mark.parametrize("value", [0.1, 100.0])
def test_clipping_is_torchs(value: float) -> None:
    layers, optimizer = two_groups()
    twins, _ = two_groups()
    for both in (layers, twins):
        fill(both)
    norm = clip(optimizer, value, "norm")
    expected = torch.nn.utils.clip_grad_norm_([p for t in twins for p in t.parameters()], value)
    assert norm is not None
    assert torch.equal(norm, expected)
    assert all(map(torch.equal, gradients(layers), gradients(twins)))
    assert clip(optimizer, value / 10, "value") is None
    torch.nn.utils.clip_grad_value_([p for t in twins for p in t.parameters()], value / 10)
    assert all(map(torch.equal, gradients(layers), gradients(twins)))


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'norm' or by 'value'\. Received algorithm='l2'"):
        clip(two_groups()[1], 1.0, "l2")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_under_a_scaler_clipping_leaves_it_to_be_seen_which_gradient_is_to_blame(
    bad: float,
) -> None:
    backend = TorchBackend(precision="16-mixed")
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    backend.setup(model, [])
    (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    before = {name: value.clone() for name, value in model.state_dict().items()}

    backend.backward(model(torch.ones(1, 2)).sum())
    model[0].bias.grad[1] = bad
    norm = backend.clip(optimizer, 0.5)

    assert norm is not None
    assert not norm.isfinite()
    assert not backend.step(optimizer)
    assert backend.first_non_finite(optimizer) == "0.bias"
    assert backend.loss_scale == 2.0**16
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)


def test_of_several_bad_gradients_the_one_met_first_in_the_backward_pass_is_named() -> None:
    backend = TorchBackend()
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    backend.backward(model(torch.ones(1, 2)).sum())
    model[0].weight.grad[0, 0] = float("nan")
    model[1].weight.grad[0, 0] = float("inf")

    assert backend.first_non_finite(optimizer) == "1.weight"


def test_a_backend_that_does_not_scale_has_no_scale() -> None:
    assert TorchBackend().loss_scale is None
