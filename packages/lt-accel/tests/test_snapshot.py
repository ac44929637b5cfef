from typing import Any

import pytest
import torch
from torch import nn

from lt_accel.snapshot import copied, load_program, restore_optimizer


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(4, 3, generator=generator).to(model.weight.dtype)
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()


def flat(state: Any) -> list[Any]:
    if isinstance(state, torch.Tensor):
        return [state.dtype, *state.reshape(-1).tolist()]
    if isinstance(state, dict):
        return [part for key in sorted(state, key=str) for part in [key, *flat(state[key])]]
    if isinstance(state, list | tuple):
        return [part for one in state for part in flat(one)]
    return [state]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), amsgrad=True),
        lambda p: torch.optim.NAdam(p, lr=0.01),
        lambda p: torch.optim.ASGD(p, lr=0.01),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
        lambda p: torch.optim.Adagrad(p, lr=0.01),
    ],
    ids=["sgd", "adam", "nadam", "asgd", "rmsprop", "adagrad"],
)
def test_optimizers_go_on_with_the_same_bits(make: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2).to(dtype)
    optimizer = make(model.parameters())
    train(model, optimizer, 3, seed=1)
    weights, state = copied(model.state_dict()), copied(optimizer.state_dict())
    train(model, optimizer, 3, seed=2)
    for _ in range(2):  # restoring must not spoil the state for another time
        fresh = nn.Linear(3, 2).to(dtype)
        fresh.load_state_dict(weights)
        other = make(fresh.parameters())
        restore_optimizer(other, state)
        assert flat(other.state_dict()) == flat(state)
        train(fresh, other, 3, seed=2)
        assert torch.equal(fresh.weight, model.weight)
        assert torch.equal(fresh.bias, model.bias)


def stepped(make: Any) -> Any:
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    train(model, optimizer, 1, seed=1)
    return optimizer


def heavy_ball(parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


@pytest.mark.parametrize(
    ("saved", "now", "said"),
    [
        (
            torch.optim.Adam,
            heavy_ball,
            r"Received SGD and a .* of Adam or AdamW: it lacks .*momentum",
        ),
        (
            torch.optim.AdamW,
            heavy_ball,
            r"Received SGD and a .* of Adam or AdamW: it lacks .*momentum",
        ),
        (
            heavy_ball,
            torch.optim.Adam,
            "Received Adam and a state with the settings of SGD: it lacks ",
        ),
        (torch.optim.Adam, torch.optim.NAdam, "Received NAdam and a .*: it lacks mu_product"),
        (torch.optim.RMSprop, torch.optim.Adagrad, "Received Adagrad and a .* of RMSprop: it"),
    ],
)
def test_a_state_of_another_optimizer_is_refused(saved: Any, now: Any, said: str) -> None:
    state, optimizer = stepped(saved).state_dict(), now(nn.Linear(3, 2).parameters())
    with pytest.raises(ValueError, match=said):
        restore_optimizer(optimizer, state)


def test_what_no_optimizer_of_torch_takes_is_listed() -> None:
    state = {"state": {}, "param_groups": [{"params": [0, 1], "speed": 3, "rate": 1}]}
    with pytest.raises(ValueError, match=r"Received SGD .*the settings rate, speed: it lacks"):
        restore_optimizer(heavy_ball(nn.Linear(3, 2).parameters()), state)


def test_settings_beside_those_of_the_optimizer_are_kept() -> None:
    """A schedule's, or the user's; and those that an older torch did not have yet."""
    state = stepped(torch.optim.Adam).state_dict()
    (group,) = state["param_groups"]
    group |= {"initial_lr": 0.5, "name": "all"}
    del group["fused"], group["maximize"]
    optimizer = torch.optim.Adam(nn.Linear(3, 2).parameters())
    restore_optimizer(optimizer, state)
    found = optimizer.param_groups[0]
    assert (found["initial_lr"], found["name"]) == (0.5, "all")
    assert (found["fused"], found["maximize"]) == (None, False)


def test_copies_share_nothing() -> None:
    tensor = torch.ones(2, requires_grad=True)
    inner = {"deep": [1]}
    state = {"a": tensor, "b": [tensor, (tensor, "x")], "c": inner, "d": {1, 2}}
    copy = copied(state)
    with torch.no_grad():
        tensor.zero_()
    inner["deep"].append(2)
    assert copy["a"].tolist() == copy["b"][0].tolist() == copy["b"][1][0].tolist() == [1.0, 1.0]
    assert not copy["a"].requires_grad
    assert copy["c"] == {"deep": [1]}
    assert copy["d"] == {1, 2}


def test_a_program_may_take_what_a_state_and_it_share() -> None:
    class Grown(nn.Module):
        strict_loading = False

        def __init__(self) -> None:
            super().__init__()
            self.old, self.new = nn.Linear(2, 2), nn.Linear(2, 2)

    program = Grown()
    before = program.new.weight.clone()
    state = {"old.weight": torch.ones(2, 2), "old.bias": torch.ones(2), "gone": torch.ones(1)}

    with pytest.warns(UserWarning, match=r"without new\.weight, new\.bias, and with gone, which"):
        load_program(program, state)

    assert torch.equal(program.old.weight, torch.ones(2, 2))
    assert torch.equal(program.new.weight, before)
    program.strict_loading = True
    with pytest.raises(RuntimeError, match="Missing key"):
        load_program(program, state)
