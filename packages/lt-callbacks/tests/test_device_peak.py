"""Which row of the table a run is measured by."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks.device_peak import device_peak

TERA = 1e12


@pytest.fixture(autouse=True)
def a100(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-40GB")
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("precision", "tera"),
    [
        ("bf16-mixed", 312),
        ("16-mixed", 312),
        ("bf16-true", 312),
        ("32-true", 19.5),
        ("64-true", 19.5),
    ],
)
def test_the_precision_decides(precision: str, tera: float) -> None:
    assert device_peak(torch.device("cuda"), precision, nn.Linear(1, 1)) == tera * TERA


@pytest.mark.parametrize(
    ("dtype", "tera"), [(torch.float32, 19.5), (torch.bfloat16, 312), (torch.int8, None)]
)
def test_without_one_the_parameters_do(dtype: torch.dtype, tera: float | None) -> None:
    program = nn.Module()
    program.weight = nn.Parameter(torch.zeros(1, dtype=dtype), requires_grad=False)

    expected = None if tera is None else tera * TERA
    assert device_peak(torch.device("cuda"), None, program) == expected


def test_float32_may_be_computed_as_tf32() -> None:
    torch.set_float32_matmul_precision("high")

    assert device_peak(torch.device("cuda"), "32-true", nn.Linear(1, 1)) == 156 * TERA
    assert device_peak(torch.device("cuda"), None, object()) == 156 * TERA
