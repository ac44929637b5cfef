"""What a configuration may name where no base class says it: recognized by what a class can do.

A module is any class with a step, a datamodule any class that makes a loader; so neither torch nor
a base class has to be imported to know the types of the options.
"""

import abc
from typing import Any, ClassVar


class _Kind(abc.ABC):
    """Classes with one of some methods. Abstract: a configuration names a class of its own."""

    signs: ClassVar[tuple[str, ...]] = ()
    """Methods of which a class of this kind has one; without any, every class is of it."""

    @abc.abstractmethod
    def __init__(self, *arguments: Any, **words: Any) -> None: ...

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        # Values, functions and classes themselves are objects too, but of no kind.
        plain = other.__module__.partition(".")[0] in ("builtins", "types", "jsonargparse")
        if plain or issubclass(other, type):
            return NotImplemented
        return (
            True if not cls.signs or any(hasattr(other, s) for s in cls.signs) else NotImplemented
        )


class AnyObject(_Kind):
    """Any class: a strategy, a backend, a store."""


class AnyModule(_Kind):
    """Any class with a step: what a trainer runs."""

    signs = ("training_step", "validation_step", "test_step", "predict_step")


class AnyDataModule(_Kind):
    """Any class that makes a loader."""

    signs = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")


class AnyOptimizer(_Kind):
    """Any class that clears gradients: what an optimizer is where torch is not imported."""

    signs = ("zero_grad",)


class AnyLRScheduler(_Kind):
    """Any class that tells its learning rate: a schedule where torch is not imported."""

    signs = ("get_last_lr",)
