import argparse
import copy
import dataclasses
import pickle
import warnings
from typing import Any

import pytest
from torch import nn

from lt_module import HyperParameters, LTDataModule, LTModule


class Base(LTModule):
    def __init__(self, width: int, depth: int = 2, **more: Any) -> None:
        super().__init__()
        self.save_hyperparameters()


class Derived(Base):
    def __init__(self, lr: float, depth: int = 3) -> None:
        super().__init__(width=8, depth=depth, dropout=0.1)


def test_the_arguments_of_init_are_remembered() -> None:
    assert Base(4, act="relu").hparams == {"width": 4, "depth": 2, "act": "relu"}


def test_those_of_a_subclass_too() -> None:
    assert Derived(0.1).hparams == {"width": 8, "depth": 3, "dropout": 0.1, "lr": 0.1}


def test_called_in_the_subclass_only_its_own() -> None:
    class Own(LTModule):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            self.save_hyperparameters("b")

    assert Own(1, 2).hparams == {"b": 2}


def test_ignored_names_are_left_out() -> None:
    class Own(LTModule):
        def __init__(self, a: int, b: int, c: int) -> None:
            super().__init__()
            self.save_hyperparameters(ignore=["a", "c"])

    assert Own(1, 2, 3).hparams == {"b": 2}


@dataclasses.dataclass
class Config:
    a: int = 1


@pytest.mark.parametrize("given", [{"a": 1}, argparse.Namespace(a=1), Config()])
def test_one_object_stands_for_all(given: Any) -> None:
    module = LTModule()
    module.save_hyperparameters(given)

    assert module.hparams == {"a": 1}


def test_before_the_parent_init_it_works_too() -> None:
    class Early(LTModule):
        def __init__(self, a: int) -> None:
            self.save_hyperparameters()
            super().__init__()

    assert Early(1).hparams.a == 1


def test_the_initial_values_stay_when_others_change() -> None:
    module = Base(4)
    module.hparams.width = 5
    module.hparams["depth"] = 7

    assert module.hparams_initial == {"width": 4, "depth": 2}
    assert module.hparams == {"width": 5, "depth": 7}


def test_a_module_among_them_is_warned_of() -> None:
    class Holding(LTModule):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.save_hyperparameters()

    with pytest.warns(UserWarning, match=r"Received the module 'layer'.*ignore=\['layer'\]"):
        Holding(nn.Identity())


def test_an_unknown_name_is_refused() -> None:
    class Own(LTModule):
        def __init__(self, a: int) -> None:
            super().__init__()
            self.save_hyperparameters("b")

    with pytest.raises(ValueError, match=r"names arguments of __init__: a\. Received 'b'"):
        Own(1)


def test_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="Received int"):
        LTModule().save_hyperparameters(3)


def test_a_missing_one_is_named() -> None:
    with pytest.raises(AttributeError, match=r"width, depth\. Received 'lr'"):
        _ = Base(4).hparams.lr


def test_they_are_copied_pickled_and_deleted_like_a_dict() -> None:
    hparams = HyperParameters(a=1, b=[2])

    for other in (copy.deepcopy(hparams), pickle.loads(pickle.dumps(hparams))):
        assert other == hparams
        assert type(other) is HyperParameters
        assert other.b is not hparams.b
    del hparams.a
    assert hparams == {"b": [2]}


def test_a_data_module_has_them_too() -> None:
    class Data(LTDataModule):
        def __init__(self, batch_size: int = 8) -> None:
            self.save_hyperparameters()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Data().hparams.batch_size == 8


@pytest.mark.parametrize(("logger", "logged"), [(True, {"width": 3}), (False, {})])
def test_loggers_receive_them_unless_they_shall_not(logger: bool, logged: dict[str, int]) -> None:
    class Net(LTModule):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters(logger=logger)
            self.hparams.width = 4  # too late

    assert Net(3).logged_hparams == logged
    assert LTModule().logged_hparams == {}


@dataclasses.dataclass(eq=False)
class Made(LTModule):
    """A module whose ``__init__`` is written by ``dataclass``."""

    width: int
    rate: float = 0.1
    seen: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="rate")


def test_a_dataclass_remembers_its_fields() -> None:
    assert Made(3).hparams == {"width": 3}
