from typing import Any

import pytest
import torch
from torch import nn

from lt_accel import Precision
from lt_accel.precision import ALIASES, PRECISIONS

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (None, "32-true"),
        (32, "32-true"),
        ("32", "32-true"),
        (64, "64-true"),
        ("64", "64-true"),
        (16, "16-mixed"),
        ("16", "16-mixed"),
        ("bf16", "bf16-mixed"),
        ("16-true", "16-true"),
        ("bf16-true", "bf16-true"),
    ],
)
def test_names_and_aliases(word: Any, name: str) -> None:
    assert Precision.named(word).name == name


def test_every_alias_leads_somewhere() -> None:
    assert set(ALIASES.values()) <= set(PRECISIONS)
    assert all(Precision.named(name).name == name for name in PRECISIONS)


@pytest.mark.parametrize("word", ["banana", 8, 32.0, True, ["32"], "32-True "])
def test_unknown_names_list_those_there_are(word: Any) -> None:
    with pytest.raises(ValueError, match="32-true, 64-true, bf16-mixed, 16-mixed") as error:
        Precision.named(word)
    assert f"Received precision={word!r}" in str(error.value)


def test_a_misspelt_name_finds_the_closest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'bf16-mixed'"):
        Precision.named("bf16_mixed")


@pytest.mark.parametrize("name", PRECISIONS)
def test_this_cpu_can_do_all_of_them(name: str) -> None:
    with torch.inference_mode():
        PRECISIONS[name].check(CPU)


@pytest.mark.parametrize("name", ["bf16-mixed", "16-mixed"])
def test_a_device_that_cannot_says_so(name: str) -> None:
    with pytest.raises(ValueError, match=f"precision='{name}' needs torch.* on meta"):
        PRECISIONS[name].check(torch.device("meta"))


def test_cuda_is_not_started_to_try() -> None:
    PRECISIONS["16-mixed"].check(torch.device("cuda"))
    assert not torch.cuda.is_initialized()


def test_mixed_steps_are_autocast_and_leave_no_trace() -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    step = Precision.named("bf16").wrap(lambda x: (weight @ x, torch.ones(1)), "cpu")
    product, new = step(torch.ones(2, 2))
    assert product.dtype is torch.bfloat16
    assert new.dtype is torch.float32
    assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(TypeError):
        step()
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["64-true", "bf16-true", "16-true"])
def test_new_tensors_in_a_true_step_have_its_dtype(name: str) -> None:
    precision = PRECISIONS[name]

    def step(fail: bool = False) -> Any:
        if fail:
            raise LookupError
        return torch.ones(2), torch.tensor(0.5), torch.ones(1, dtype=torch.float32)

    wrapped = precision.wrap(step, "cpu")
    assert [t.dtype for t in wrapped()] == [precision.parameters] * 2 + [torch.float32]
    assert wrapped.__name__ == "step"
    with pytest.raises(LookupError):
        wrapped(fail=True)
    assert torch.get_default_dtype() is torch.float32


def test_32_true_adds_nothing() -> None:
    def step() -> None: ...

    assert PRECISIONS["32-true"].wrap(step, "cpu") is step
    double = nn.Linear(2, 2).double()
    PRECISIONS["32-true"].convert(double)
    assert double.weight.dtype is torch.float64
