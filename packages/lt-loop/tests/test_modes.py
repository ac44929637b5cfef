"""Evaluation mode is left as it was entered; test_evaluate.py shows it in a run."""

from typing import Any

import pytest

from lt_loop.hooks import library_default
from lt_loop.modes import enter_evaluation_mode


class Part:
    """A module without parts of its own."""

    def __init__(self, training: bool) -> None:
        self.training = training


class Moded:
    """Has modes as an ``nn.Module`` has."""

    def __init__(self) -> None:
        self.training, self.parts = True, [Part(True), Part(False)]

    def modules(self) -> list[Any]:
        return [self, *self.parts]

    def eval(self) -> None:
        for module in self.modules():
            module.training = False

    def modes(self) -> list[bool]:
        return [module.training for module in self.modules()]


class OwnEval(Moded):
    def on_test_model_eval(self) -> None:
        self.parts[0].training = False


class OwnTrain(Moded):
    def on_test_model_train(self) -> None:
        self.parts[1].training = True


class Documented(Moded):
    @library_default
    def on_test_model_eval(self) -> None:
        raise AssertionError("a default is not called")

    @library_default
    def on_test_model_train(self) -> None:
        raise AssertionError("a default is not called")


@pytest.mark.parametrize(
    ("cls", "inside", "after"),
    [
        (Moded, [False, False, False], [True, True, False]),
        (Documented, [False, False, False], [True, True, False]),
        (OwnEval, [True, False, False], [True, True, False]),
        (OwnTrain, [False, False, False], [False, False, True]),
    ],
)
def test_a_program_may_replace_either_half(
    cls: type[Moded], inside: list[bool], after: list[bool]
) -> None:
    program = cls()

    leave = enter_evaluation_mode(program, "test")
    assert program.modes() == inside
    leave()
    assert program.modes() == after


def test_hooks_of_another_loop_are_not_asked() -> None:
    program = OwnEval()
    enter_evaluation_mode(program, "validation")

    assert program.modes() == [False, False, False]


def test_evaluations_may_be_nested() -> None:
    program = Moded()

    leave_outer = enter_evaluation_mode(program, "validation")
    leave_inner = enter_evaluation_mode(program, "test")
    leave_inner()
    assert program.modes() == [False, False, False]
    leave_outer()
    assert program.modes() == [True, True, False]


class WithoutModules:
    training = True

    def eval(self) -> None:
        raise AssertionError("an eval() of its own, and no module's")


class WithAList:
    training, modules = True, ("a", "b")

    def eval(self) -> None:
        raise AssertionError("an eval() of its own, and no module's")


class WithoutEval:
    training = True

    def modules(self) -> list[Any]:
        return [self]


@pytest.mark.parametrize("cls", [object, WithoutModules, WithAList, WithoutEval])
def test_a_program_without_modes_is_left_alone(cls: type) -> None:
    program = cls()

    enter_evaluation_mode(program, "test")()

    assert getattr(program, "training", True)
