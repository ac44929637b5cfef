"""What is left as it was."""

import random
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks.untouched import random_generators_untouched, untouched


def test_also_after_an_exception() -> None:
    numpy = pytest.importorskip("numpy")
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()).train()
    model[1].eval()
    before: dict[str, Any] = {k: v.clone() for k, v in model.state_dict().items()}
    buffers = list(model.buffers())
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()

    def disturb() -> None:
        with untouched(model):
            model.train()
            model(torch.randn(4, 2)).sum().backward()
            model[0].running_mean = torch.ones(2)
            random.random()
            numpy.random.rand()
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        disturb()

    assert [child.training for child in model.modules()] == [True, True, False]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(a is b for a, b in zip(buffers, model.buffers(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert all(
        numpy.array_equal(a, b) for a, b in zip(states[2], numpy.random.get_state(), strict=True)
    )


def test_the_same_numbers_can_be_drawn_again() -> None:
    with random_generators_untouched(nn.Linear(1, 1)) as rewind:
        first = torch.rand(3), random.random()
        rewind()
        second = torch.rand(3), random.random()

    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]


@pytest.mark.gpu
def test_the_generator_of_a_gpu_too() -> None:
    model = nn.Linear(2, 2).cuda()
    state = torch.cuda.get_rng_state()

    with untouched(model):
        torch.randn(3, device="cuda")

    assert torch.equal(state, torch.cuda.get_rng_state())
