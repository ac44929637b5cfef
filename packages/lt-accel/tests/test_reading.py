import math
from typing import Any

import pytest
import torch
import torch.overrides
from hypothesis import given
from hypothesis import strategies as st

from lt_accel.reading import read, transferred

numbers = st.floats(width=32, allow_nan=False) | st.integers(-(2**31), 2**31 - 1)
DTYPES = [torch.float64, torch.float32, torch.int64, torch.bfloat16, torch.float16, torch.bool]
tensors = st.builds(
    lambda number, dtype, shape: (
        torch.tensor(0 if math.isinf(number) and not dtype.is_floating_point else number)
        .to(dtype)
        .reshape(shape)
    ),
    numbers,
    st.sampled_from(DTYPES),
    st.sampled_from([(), (1,), (1, 1)]),
)
scalars = numbers | tensors


@given(st.lists(scalars, max_size=12))
def test_reads_what_float_would(values: list[Any]) -> None:
    assert read(values) == [float(value) for value in values]


def test_values_with_a_graph_are_read_without_one() -> None:
    weight = torch.ones((), requires_grad=True)
    with torch.inference_mode():
        inference = torch.tensor(3.0)
    assert read([weight * 2, inference, torch.tensor(float("inf"))]) == [2.0, 3.0, math.inf]
    assert math.isnan(read([torch.tensor(float("nan"))])[0])


@given(st.lists(st.lists(tensors, min_size=1, max_size=4), max_size=4))
def test_tensors_of_a_device_come_in_one_transfer(groups: list[list[torch.Tensor]]) -> None:
    groups = [[value.to(group[0].dtype) for value in group] for group in groups]
    transfers = []

    class Counting(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, fn: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if fn in (torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.__float__):
                transfers.append(fn)
            return fn(*args, **(kwargs or {}))

    with Counting():
        numbers = transferred(torch.device("cpu"), groups)
    assert numbers == [float(value) for group in groups for value in group]
    assert len(transfers) == min(len(groups), 1)


def test_nothing_to_read() -> None:
    assert read([]) == []


@pytest.mark.parametrize("size", [0, 2])
def test_a_value_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"has one element. Received .* shape \({size},\)"):
        read([1.0, torch.ones(size)])
