"""Hyper-parameters as plain data. The YAML was read back by PyYAML when these were written."""

import math
from argparse import Namespace
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pytest

from lt_callbacks.hyperparameters import as_plain, as_yaml, flattened


@dataclass
class Optimizer:
    lr: float
    betas: tuple[float, float]


NESTED = Namespace(width=32, optimizer=Optimizer(0.1, (0.9, 0.99)), aux={"k": Namespace(b=True)})


def test_nested_objects_become_dicts_and_lists() -> None:
    assert as_plain(NESTED) == {
        "width": 32,
        "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]},
        "aux": {"k": {"b": True}},
    }


def test_what_is_no_data_becomes_a_string() -> None:
    values = {"path": PurePosixPath("a/b"), "kind": Optimizer, 3: {1}, "nothing": None}

    assert as_plain(values) == {
        "path": "a/b",
        "kind": str(Optimizer),
        "3": "{1}",
        "nothing": None,
    }


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")

    plain = as_plain([numpy.int64(3), numpy.float32(0.5), numpy.float64(0.1)])

    assert plain == [3, 0.5, 0.1]
    assert [type(number) for number in plain] == [int, float, float]


def test_one_level_has_names_with_slashes() -> None:
    assert dict(flattened(as_plain(NESTED))) == {
        "width": 32,
        "optimizer/lr": 0.1,
        "optimizer/betas": "[0.9, 0.99]",
        "aux/k/b": True,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-05, "1.0e-05"),  # without the point, YAML 1.1 reads a string
        (-2.5e300, "-2.5e+300"),
        (3.0, "3.0"),
        (math.inf, ".inf"),
        (-math.inf, "-.inf"),
        (math.nan, ".nan"),
        (7, "7"),
        (True, "true"),
        (None, "null"),
        ("0.1", '"0.1"'),
        ('a "b"\\', '"a \\"b\\"\\\\"'),
        ("two\nlines", '"two\\U0000000alines"'),
        ("größe 😀", '"größe 😀"'),
        ([1, ["a", None], {"on": {}}], '[1, ["a", null], {"on": {}}]'),
        ({}, "{}"),
    ],
)
def test_a_value_is_yaml(value: Any, text: str) -> None:
    assert as_yaml({"x": value}) == f"x: {text}\n"


@pytest.mark.parametrize(
    ("key", "text"),
    [("lr", "lr"), ("on", '"on"'), ("No", '"No"'), ("a b", '"a b"'), ("3", '"3"'), ("", '""')],
)
def test_a_key_is_yaml(key: str, text: str) -> None:
    assert as_yaml({key: 1}) == f"{text}: 1\n"


def test_nested_mappings_are_indented() -> None:
    assert as_yaml({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == ("a:\n  b:\n    c: 1\n  d: 2\ne: 3\n")
