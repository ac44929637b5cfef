import os

import pytest
import torch

from lt_accel import Switches


def test_nothing_given_changes_nothing(torch_switches: None) -> None:
    torch.backends.cudnn.benchmark = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    Switches().apply()
    assert torch.backends.cudnn.benchmark
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.parametrize("deterministic", [True, "warn"])
def test_deterministic(torch_switches: None, deterministic: bool) -> None:
    torch.backends.cudnn.benchmark = True
    Switches(deterministic=deterministic).apply()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled() is (deterministic == "warn")
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    Switches(deterministic=False, benchmark=True).apply()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark


def test_a_workspace_that_was_set_is_kept(
    torch_switches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    Switches(deterministic=True).apply()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_warn_may_benchmark(torch_switches: None) -> None:
    Switches(deterministic="warn", benchmark=True).apply()
    assert torch.backends.cudnn.benchmark
