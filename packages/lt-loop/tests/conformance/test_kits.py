"""The kits work without a test runner and under unittest, and stand on what compares and shares."""

import subprocess
import sys
import threading
import unittest
from array import array
from typing import Any

import pytest
from plain_backend import PlainBackend, PlainKit

from lt_loop.conformance import failures, promises, same
from lt_loop.conformance.raising import raised_by
from lt_loop.conformance.ranks import in_ranks
from lt_loop.conformance.sameness import close, numbers


def test_unittest_runs_a_kit_that_is_a_test_case() -> None:
    case = type("Case", (PlainKit, unittest.TestCase), {})
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)

    assert result.wasSuccessful()
    assert result.testsRun == len(promises(PlainKit))


def test_unittest_sees_what_fails_and_skips_what_is_left_out() -> None:
    class Overwrites(PlainBackend):
        def backward(self, loss: Any, *, sync: bool) -> None:
            self.program.slopes = {}
            super().backward(loss, sync=sync)

    words = {"make": staticmethod(Overwrites), "test_a_step_calls_the_closure": None}
    case = type("Case", (PlainKit, unittest.TestCase), words)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)

    assert result.testsRun == len(promises(PlainKit)) - 1
    (failure,) = result.failures
    assert "backward adds the gradients of each loss" in failure[1]


def test_a_kit_that_is_not_filled_in_says_what_it_lacks() -> None:
    kit = type("Kit", (PlainKit.__bases__[0],), {"make": staticmethod(PlainBackend)})
    with pytest.raises(TypeError, match=r"abstract methods '?batch'?, '?program'?"):
        failures(kit)


def test_the_kits_need_neither_pytest_nor_unittest() -> None:
    code = "import sys, lt_loop.conformance; print({'pytest', 'unittest'} & sys.modules.keys())"
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("set()\n", "")


def test_arrays_are_alike_in_shape_dtype_and_elements() -> None:
    class Array(list[Any]):
        """As much of an array as is looked at."""

        def __init__(self, values: Any, dtype: str = "f") -> None:
            super().__init__(values)
            self.shape, self.dtype = (len(self),), dtype

        def __eq__(self, other: object) -> Any:
            return Array([a == b for a, b in zip(self, other, strict=True)])  # type: ignore[call-overload]

        __hash__ = None  # type: ignore[assignment]

        def all(self) -> bool:
            return all(list(self))

    assert same({"a": (Array([1, 2]),)}, {"a": (Array([1, 2]),)})
    assert not same(Array([1, 2]), Array([1, 3]))
    assert not same(Array([1, 2]), Array([1, 2, 3]))
    assert not same(Array([1, 2]), Array([1, 2], dtype="d"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, None),
        ("1", 1),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"b": [0.1]}}, {"a": {"b": [0.2]}}),
        (b"a", "a"),
        (float("nan"), 0.0),
        (float("inf"), float("-inf")),
    ],
)
def test_what_differs_anywhere_is_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert not same(other, one)
    assert same(one, one)
    assert same(other, other)


def test_numbers_are_found_in_arrays_and_rows() -> None:
    class Tensor:
        def detach(self) -> Any:
            return array("d", [1.5, 2.5])

    assert numbers([Tensor(), (3, [4])]) == [1.5, 2.5, 3.0, 4.0]


def test_close_is_a_share_of_the_greatest() -> None:
    assert close([0.0, 1000.0], [0.5, 1000.0], tolerance=1e-3)
    assert not close([0.0, 1.0], [0.5, 1.0], tolerance=1e-3)
    assert not close([float("nan")], [float("nan")], tolerance=1.0)


def test_another_exception_is_told_from_the_expected() -> None:
    def fail() -> None:
        raise KeyError("x")

    assert isinstance(raised_by(LookupError, fail, "A rule holds"), KeyError)
    with pytest.raises(AssertionError, match=r"^A rule holds: by a ValueError. Received KeyError"):
        raised_by(ValueError, fail, "A rule holds")
    message = "^A rule holds: by a TypeError or a ValueError. Received none, but 3.$"
    with pytest.raises(AssertionError, match=message):
        raised_by((TypeError, ValueError), lambda: 3, "A rule holds")


def test_ranks_in_threads_talk_as_a_world_does() -> None:
    def look(world: Any) -> Any:
        reduced = [world.reduce([world.rank, 1.0], op) for op in ("mean", "sum", "min", "max")]
        return (
            reduced,
            world.broadcast(world.rank, 2),
            world.gather(world.rank),
            world.agree(world.rank),
        )

    expected = ([[1.0, 1.0], [3, 3.0], [0, 1.0], [2, 1.0]], 2, [0, 1, 2], 2)
    assert in_ranks(3, look) == [expected] * 3


def test_the_first_failure_among_threads_is_raised_and_nobody_waits() -> None:
    def fail(world: Any) -> None:
        if world.rank == 1:
            raise ZeroDivisionError("of rank 1")
        world.barrier()

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="of rank 1"):
        in_ranks(3, fail)
    assert threading.active_count() == before
