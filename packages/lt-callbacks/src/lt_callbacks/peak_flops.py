"""The operations per second that devices are capable of, by their makers' data sheets.

All numbers are for dense matrices: where a data sheet gives those for 2:4 sparsity, which nothing
here uses, they are halved. float64 and tf32 are those of the tensor cores where there are any;
float32 is without them, as torch computes it by default; float16 and bfloat16 are with a float32
accumulator.
"""

import re

TERA = 1e12

Peaks = dict[str, float]
"""Tera-operations per second by the name of the dtype; ``tf32`` is float32 rounded on the way."""


def _peaks(
    float32: float, *, half: float, tf32: float | None = None, float64: float | None = None
) -> Peaks:
    given = {"float64": float64, "float32": float32, "tf32": tf32}
    known = {name: peak for name, peak in given.items() if peak is not None}
    return {**known, "float16": half, "bfloat16": half}


def _without_bfloat16(peaks: Peaks) -> Peaks:
    return {name: peak for name, peak in peaks.items() if name != "bfloat16"}


_HOPPER_SXM = _peaks(67, half=989.5, tf32=494.5, float64=67)
_HOPPER_NVL = _peaks(60, half=835.5, tf32=417.5, float64=60)

PEAKS: tuple[tuple[str, Peaks], ...] = (
    # NVIDIA HGX B200, for eight of them (Blackwell datasheet): 36 PFLOPS sparse, 600 TFLOPS fp32
    (r"\bb200$", _peaks(75, half=2250, tf32=1125, float64=37)),
    # NVIDIA H200 Tensor Core GPU datasheet
    (r"\bh200 nvl\b", _HOPPER_NVL),
    (r"\bh200\b", _HOPPER_SXM),
    # NVIDIA GH200 Grace Hopper Superchip datasheet
    (r"\bgh200\b", _HOPPER_SXM),
    # NVIDIA H100 Tensor Core GPU datasheet, columns SXM and NVL; PCIe: its first edition
    (r"\bh100 nvl\b", _HOPPER_NVL),
    (r"\bh100 pcie\b", _peaks(51, half=756.5, tf32=378, float64=51)),
    (r"\bh100\b.*\bhbm3\b", _HOPPER_SXM),
    # NVIDIA A100 Tensor Core GPU datasheet: SXM and PCIe alike
    (r"\ba100\b", _peaks(19.5, half=312, tf32=156, float64=19.5)),
    # NVIDIA A30 datasheet
    (r"\ba30\b", _peaks(10.3, half=165, tf32=82, float64=10.3)),
    # NVIDIA A40 datasheet
    (r"\ba40\b", _peaks(37.4, half=149.7, tf32=74.8)),
    # NVIDIA A10 datasheet
    (r"\ba10\b", _peaks(31.2, half=125, tf32=62.5)),
    # NVIDIA A10G datasheet, published by AWS
    (r"\ba10g\b", _peaks(35, half=70, tf32=35)),
    # NVIDIA L4, L40 and L40S datasheets
    (r"\bl4\b", _peaks(30.3, half=121, tf32=60)),
    (r"\bl40\b", _peaks(90.5, half=181, tf32=90.5)),
    (r"\bl40s\b", _peaks(91.6, half=362, tf32=183)),
    # NVIDIA T4 datasheet
    (r"\bt4\b", _without_bfloat16(_peaks(8.1, half=65))),
    # NVIDIA V100 and V100S datasheets
    (r"\bv100s\b", _without_bfloat16(_peaks(16.4, half=130, float64=8.2))),
    (r"\bv100-sxm", _without_bfloat16(_peaks(15.7, half=125, float64=7.8))),
    (r"\bv100-pcie", _without_bfloat16(_peaks(14, half=112, float64=7))),
    # NVIDIA RTX A6000 datasheet; NVIDIA RTX 6000 Ada Generation datasheet
    (r"\brtx a6000$", _peaks(38.7, half=154.8, tf32=77.4)),
    (r"\brtx 6000 ada\b", _peaks(91.1, half=364.2, tf32=182.1)),
    # NVIDIA Ada and Ampere GA102 architecture whitepapers, appendices A
    (r"\brtx 4090$", _peaks(82.6, half=165.2, tf32=82.6)),
    (r"\brtx 3090$", _peaks(35.6, half=71, tf32=35.6)),
    # AMD Instinct MI300X data sheet
    (r"\bmi300x\b", _peaks(163.4, half=1307.4, tf32=653.7, float64=163.4)),
)
"""Patterns of device names in lower case, the first that is found decides."""


def peak_flops(device_name: str, dtype: str) -> float | None:
    """Return the operations per second that a device is capable of; None where that is not known.

    Args:
        device_name: as ``torch.cuda.get_device_name()`` tells it.
        dtype: ``float64``, ``float32``, ``tf32``, ``float16`` or ``bfloat16``.

    >>> peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16")
    312000000000000.0
    >>> peak_flops("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bfloat16")  # a slice of one
    """
    name = device_name.lower()
    if re.search(r"\bmig\b", name):
        return None
    found = next((peaks for pattern, peaks in PEAKS if re.search(pattern, name)), {})
    return found[dtype] * TERA if dtype in found else None
