"""Making a module or a data module anew from a checkpoint."""

import ast
import contextlib
import csv
import functools
import importlib
import inspect
import json
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, final

import torch

from lt_module.hyperparameters import HyperParameters

M = TypeVar("M")
Fn = TypeVar("Fn", bound=Callable[..., Any])


@final
class OnClass(Generic[Fn]):
    """A class method that can't be called on an instance, whose state it would not change."""

    def __init__(self, method: Fn) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        """Return the method of the class; for an instance, a function that refuses."""
        bound: Callable[..., Any] = self._method.__get__(owner, type(owner))
        if instance is None:
            return bound

        @functools.wraps(bound)
        def refuse(*arguments: Any, **words: Any) -> NoReturn:
            raise TypeError(
                f"{bound.__name__} makes a new {owner.__name__}. Received a call on an instance, "
                f"which it would not change. Write {owner.__name__}.{bound.__name__}(...), and "
                "take what it returns."
            )

        return refuse


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what is in a checkpoint, but for what only a run that goes on needs.

    It is read by the store that an installed package announces as ``folder`` of ``lt.stores``.

    Raises:
        LookupError: there is no such package, or no whole checkpoint of that name.
    """
    points = {point.name: point for point in metadata.entry_points(group="lt.stores")}
    if "folder" not in points:
        raise LookupError(
            "Checkpoints are read by a store. Received a Python with none among the entry points "
            f"of 'lt.stores' that could read {os.fspath(path)}. Install lt-checkpoint."
        )
    name = os.fspath(path)
    name = name if "://" in name else os.path.abspath(os.path.expanduser(name))
    return dict(points["folder"].load()().load(name, weights_only=True))


@contextlib.contextmanager
def isolated_rng() -> Iterator[None]:
    """Leave the random generators of python, numpy and torch as they were."""
    python, numpy = random.getstate(), sys.modules.get("numpy.random")
    drawn: Any = None if numpy is None else numpy.get_state()
    used = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=list(used)):
            yield
    finally:
        random.setstate(python)
        if numpy is not None:
            numpy.set_state(drawn)


def constructed(cls: type[M], saved: Mapping[str, Any], overrides: Mapping[str, Any]) -> M:
    """Make an object of the hyper-parameters that were saved, and those given now.

    Args:
        cls: whose constructor is called.
        saved: the values it was called with. Those it does not take are left out.
        overrides: values that come before them.

    Raises:
        TypeError: an override is no argument, or one that is needed was not saved.
    """
    parameters = dict(list(inspect.signature(cls.__init__).parameters.items())[1:])
    kinds = [one.kind for one in parameters.values()]
    named = {
        name: one
        for name, one in parameters.items()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    words = dict(saved)
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        if unknown := [name for name in overrides if name not in named]:
            raise TypeError(
                f"What is passed beside the checkpoint are arguments of {cls.__name__}: "
                f"{', '.join(named) or 'none'}. Received {unknown[0]!r}."
            )
        words = {name: value for name, value in saved.items() if name in named}
    words |= overrides
    needed = [n for n, one in named.items() if one.default is one.empty and n not in words]
    if len(needed) == 1 and saved and not set(saved) & set(named):
        # save_hyperparameters(config): all of them are what was passed as one argument.
        words = {needed[0]: HyperParameters(saved), **words}
    elif needed:
        raise TypeError(
            f"{cls.__name__} is made of the hyper-parameters in the checkpoint: "
            f"{', '.join(saved) or 'none'}. It needs {', '.join(needed)} too. Call "
            f"save_hyperparameters() in __init__ before saving, or pass {needed[0]}=... here."
        )
    return cls(**words)


def hyperparameters_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read hyper-parameters from a file: YAML, JSON, or a CSV of two columns.

    Raises:
        ValueError: it is no such file, or holds no table.
        LookupError: YAML can't be read here.
    """
    file = Path(path)
    kind, text = file.suffix.lower(), file.read_text("utf-8")
    if kind == ".csv":
        rows = [row for row in csv.reader(text.splitlines()) if len(row) == 2]
        return {name: _literal(value) for name, value in rows if (name, value) != ("key", "value")}
    if kind == ".json":
        found = json.loads(text)
    elif kind in (".yaml", ".yml"):
        try:
            found = importlib.import_module("yaml").safe_load(text)
        except ImportError as error:
            raise LookupError(
                f"YAML is read by PyYAML. Received hparams_file={os.fspath(path)!r}, and it is not "
                "installed. Install PyYAML, or write the values as JSON."
            ) from error
    else:
        raise ValueError(
            f"hparams_file ends in .yaml, .yml, .json or .csv. Received {os.fspath(path)!r}."
        )
    if not isinstance(found, dict):
        raise ValueError(
            f"hparams_file holds names and values. Received {os.fspath(path)!r}, which holds a "
            f"{type(found).__name__}."
        )
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def load_weights(module: Any, state: Mapping[str, Any], *, strict: bool, path: str) -> None:
    """Give a module its weights, and say which parts of it have none, if that is allowed.

    Raises:
        RuntimeError: some are missing, superfluous or of another shape, and that is not allowed.
    """
    found = module.load_state_dict(state, strict=strict)
    parts = {"missing in the checkpoint": found.missing_keys}
    parts["not in the module"] = found.unexpected_keys
    said = [f"{what}: {', '.join(keys)}" for what, keys in parts.items() if keys]
    if said:
        warnings.warn(
            f"{type(module).__name__} was loaded in part from {path}. {'; '.join(said)}.",
            stacklevel=4,
        )


def device_of(map_location: Any) -> torch.device | None:
    """Return where a loaded module goes, None for where it was made.

    Raises:
        TypeError: it is no device.
    """
    if map_location is None:
        return None
    if isinstance(map_location, str | int | torch.device):
        return torch.device(map_location)
    raise TypeError(
        "map_location is a device or its name: the whole module goes there. Received "
        f"{map_location!r}. Leave it out for the CPU."
    )
