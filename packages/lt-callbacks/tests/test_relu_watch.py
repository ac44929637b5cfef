"""Silent units against a count by hand."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks.relu_watch import ReluWatch


def shares(watch: ReluWatch) -> dict[str, float]:
    names, vector = watch.shares()
    return {} if vector is None else dict(zip(names, vector.tolist(), strict=True))


def bias_of(layer: nn.Module, values: list[float]) -> None:
    with torch.no_grad():
        layer.weight.mul_(0.01)
        layer.bias.copy_(torch.tensor(values))


def test_features_that_no_sample_wakes_are_counted() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    bias_of(model[0], [-9, 9, -9, 9])
    watch = ReluWatch(model)

    model(torch.randn(5, 3))

    assert shares(watch) == {"1": 0.5}


def test_a_channel_is_one_unit_whatever_its_places() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU6())
    bias_of(model[0], [-9, -9, -9, 1])
    watch = ReluWatch(model)

    model(torch.randn(2, 1, 6, 6))

    assert shares(watch) == {"1": 0.75}


@pytest.mark.parametrize("last", [False, True])
def test_of_three_dimensions_the_features_may_come_second_or_last(last: bool) -> None:
    x = torch.ones(2, 8, 5)
    x[:, :6] = -1
    model = nn.Sequential(nn.ReLU())
    watch = ReluWatch(model)

    model(x.transpose(1, 2) if last else x)

    assert shares(watch) == {"0": 0.75}


def test_one_wake_sample_in_several_batches_is_enough() -> None:
    model = nn.Sequential(nn.ReLU())
    watch = ReluWatch(model)

    model(torch.tensor([[-1.0, -1.0, -1.0, -1.0]]))
    model(torch.tensor([[1.0, -1.0, -1.0, -1.0], [-1.0, -1.0, -1.0, -1.0]]))

    assert shares(watch) == {"0": 0.75}


def test_evaluation_is_not_listened_to() -> None:
    model = nn.Sequential(nn.ReLU()).eval()
    watch = ReluWatch(model)

    model(torch.ones(2, 2))

    assert shares(watch) == {}


def test_closed_it_lets_go() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
    watch = ReluWatch(model)
    assert sum(len(child._forward_hooks) for child in model.modules()) == 2

    watch.close()

    assert not any(child._forward_hooks for child in model.modules())
