"""The table of peaks."""

import re

import pytest

from lt_callbacks.peak_flops import PEAKS, peak_flops

# Names as torch.cuda.get_device_name() tells them, and tera-operations from the data sheets.
KNOWN = [
    ("NVIDIA H100 80GB HBM3", "bfloat16", 989.5),
    ("NVIDIA H100 80GB HBM3", "float32", 67),
    ("NVIDIA H100 80GB HBM3", "tf32", 494.5),
    ("NVIDIA H100 PCIe", "float16", 756.5),
    ("NVIDIA H100 NVL", "bfloat16", 835.5),
    ("NVIDIA H200", "bfloat16", 989.5),
    ("NVIDIA H200 NVL", "bfloat16", 835.5),
    ("NVIDIA GH200 480GB", "bfloat16", 989.5),
    ("NVIDIA B200", "bfloat16", 2250),
    ("NVIDIA A100-SXM4-40GB", "float64", 19.5),
    ("NVIDIA A100 80GB PCIe", "tf32", 156),
    ("NVIDIA A10", "bfloat16", 125),
    ("NVIDIA A10G", "bfloat16", 70),
    ("NVIDIA A40", "bfloat16", 149.7),
    ("NVIDIA L4", "bfloat16", 121),
    ("NVIDIA L40", "bfloat16", 181),
    ("NVIDIA L40S", "bfloat16", 362),
    ("Tesla T4", "float16", 65),
    ("Tesla V100-SXM2-16GB", "float16", 125),
    ("Tesla V100S-PCIE-32GB", "float16", 130),
    ("Tesla V100-PCIE-32GB", "float16", 112),
    ("NVIDIA RTX A6000", "bfloat16", 154.8),
    ("NVIDIA RTX 6000 Ada Generation", "bfloat16", 364.2),
    ("NVIDIA GeForce RTX 4090", "bfloat16", 165.2),
    ("AMD Instinct MI300X", "bfloat16", 1307.4),
]


@pytest.mark.parametrize(("name", "dtype", "tera"), KNOWN)
def test_a_device_is_found_by_its_name(name: str, dtype: str, tera: float) -> None:
    assert peak_flops(name, dtype) == tera * 1e12


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("Tesla T4", "bfloat16"),  # it has none
        ("NVIDIA A10", "float64"),  # its data sheet does not say
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16"),  # another chip
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bfloat16"),  # a slice
        ("NVIDIA H800", "bfloat16"),
        ("NVIDIA GB200", "bfloat16"),
        ("Intel Data Center GPU Max 1550", "bfloat16"),
    ],
)
def test_what_is_not_known_is_not_guessed(name: str, dtype: str) -> None:
    assert peak_flops(name, dtype) is None


def test_every_row_is_reached_by_a_device_or_is_the_only_one_of_its_kind() -> None:
    reached = {
        next(pattern for pattern, _ in PEAKS if re.search(pattern, name.lower()))
        for name, _, _ in KNOWN
    }

    assert {pattern for pattern, _ in PEAKS} - reached == {r"\ba30\b", r"\brtx 3090$"}


def test_less_precision_is_never_slower() -> None:
    order = ["float64", "float32", "tf32", "float16"]
    for pattern, peaks in PEAKS:
        known = [peaks[name] for name in order if name in peaks]
        assert known == sorted(known), pattern
