"""Hyper-parameters: the arguments of ``__init__``, remembered."""

import argparse
import copy
import dataclasses
import inspect
import warnings
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any, cast

from torch import nn


class HyperParameters(dict[str, Any]):
    """A dict whose items are attributes too.

    >>> hparams = HyperParameters(lr=0.1)
    >>> hparams.lr == hparams["lr"] == 0.1
    True
    """

    def __getattr__(self, name: str) -> Any:
        """Return an item."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"hparams holds what save_hyperparameters() saw: {', '.join(self) or 'nothing'}. "
                f"Received {name!r}."
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an item."""
        self[name] = value

    def __delattr__(self, name: str) -> None:
        """Remove an item."""
        del self[name]


class HasHyperparameters:
    """Has ``hparams``. Abstract: modules and data modules are concrete."""

    @property
    def hparams(self) -> HyperParameters:
        """What :meth:`save_hyperparameters` saved; it may be changed."""
        if "_hparams" not in self.__dict__:
            self.__dict__["_hparams"] = HyperParameters()
        return cast(HyperParameters, self.__dict__["_hparams"])

    @property
    def hparams_initial(self) -> HyperParameters:
        """A copy of the hyper-parameters as they were when they were saved."""
        return HyperParameters(copy.deepcopy(self.__dict__.get("_hparams_initial", {})))

    @property
    def logged_hparams(self) -> HyperParameters:
        """What loggers receive: :attr:`hparams_initial`, nothing after ``logger=False``."""
        wanted = self.__dict__.get("_log_hyperparams", False)
        return self.hparams_initial if wanted else HyperParameters()

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: str | Iterable[str] | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Remember the arguments of ``__init__``, in which this is called.

        A dataclass calls it in ``__post_init__``, and its fields are remembered. Arguments of a
        subclass's ``__init__`` that called this one are remembered too, and those
        in ``**kwargs`` by their own names.

        Args:
            *args: names to remember, None for all; or one mapping, Namespace or dataclass instance
                to remember instead.
            ignore: names to leave out.
            frame: the frame of ``__init__``, where this is called from elsewhere.
            logger: whether loggers receive them.

        Raises:
            TypeError: something else was passed.
            ValueError: a name is not among the arguments.
        """
        ignored = {ignore} if isinstance(ignore, str) else set(ignore or ())
        if args and not all(isinstance(one, str) for one in args):
            found = _from_object(args)
        else:
            if frame is None:
                current = inspect.currentframe()
                frame = current.f_back if current else None
            assert frame is not None
            made = hasattr(type(self), "__dataclass_fields__")
            found = _fields(self) if made else _arguments(self, frame)
            if unknown := [name for name in args if name not in found]:
                raise ValueError(
                    f"save_hyperparameters names arguments of __init__: {', '.join(found)}. "
                    f"Received {unknown[0]!r}."
                )
            found = {name: found[name] for name in args} if args else found
        kept = {name: value for name, value in found.items() if name not in ignored}
        for name, value in kept.items():
            if isinstance(value, nn.Module):
                warnings.warn(
                    f"Hyper-parameters are data. Received the module {name!r}, whose weights are "
                    f"saved with the model. Use save_hyperparameters(ignore=[{name!r}]).",
                    stacklevel=2,
                )
        self.hparams.update(kept)
        self.__dict__["_hparams_initial"] = copy.deepcopy(dict(self.hparams))
        self.__dict__["_log_hyperparams"] = logger


def _from_object(args: tuple[Any, ...]) -> dict[str, Any]:
    given = args[0]
    if len(args) == 1 and isinstance(given, Mapping):
        return dict(given)
    if len(args) == 1 and isinstance(given, argparse.Namespace):
        return dict(vars(given))
    if len(args) == 1 and dataclasses.is_dataclass(given) and not isinstance(given, type):
        return _fields(given)
    raise TypeError(
        "save_hyperparameters takes names of arguments, or one mapping, Namespace or dataclass "
        f"instance. Received {', '.join(type(one).__name__ for one in args)}."
    )


def _fields(owner: Any) -> dict[str, Any]:
    """Return the fields of a dataclass instance that its ``__init__`` takes."""
    return {
        field.name: getattr(owner, field.name) for field in dataclasses.fields(owner) if field.init
    }


def _arguments(owner: Any, frame: FrameType) -> dict[str, Any]:
    """Return the arguments of ``__init__`` in a frame, and of those of subclasses around it."""
    found: dict[str, Any] = {}
    current: FrameType | None = frame
    while current is not None and _initialises(owner, current):
        values = inspect.getargvalues(current)
        names = values.args[1:]  # not self
        found.update({name: values.locals[name] for name in names})
        if values.keywords:
            found.update(values.locals[values.keywords])
        current = current.f_back
    return found


def _initialises(owner: Any, frame: FrameType) -> bool:
    """Return whether a frame is an ``__init__`` of this object."""
    first = frame.f_code.co_varnames[:1]
    return (
        frame.f_code.co_name == "__init__" and bool(first) and frame.f_locals.get(first[0]) is owner
    )
