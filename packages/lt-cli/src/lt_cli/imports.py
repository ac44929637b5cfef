"""Why a path of a configuration can't be imported, and what was meant."""

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from lt_cli.named import short_names
from lt_cli.spelling import suggestion


def why_not(path: str) -> str | None:
    """Say what is wrong with the path of a class; None where it can be imported.

    Raises:
        Exception: the module is there, and its own code fails when it is imported.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        return (
            f"no class is known by the name {name!r} alone.{suggestion(name, _bare_names())} "
            f"Write its path, as in my_package.{name}."
        )
    if not all(part.isidentifier() for part in path.split(".")):
        return f"{path!r} can't be the path of a class: names are made of letters, digits and _."
    missing = _missing_part(module_name)
    if missing is not None:
        return _of_lightning(path) or missing
    module = importlib.import_module(module_name)
    if not _has(module, name):
        return f"{module_name} has no {name!r}.{suggestion(name, _public(module))}"
    return None


def imported(path: str) -> Any | None:
    """Return what a path names if it can be imported, or a class known by that bare name."""
    if "." not in path:
        package = short_names().get(path)
        path = f"{package}.{path}" if package else path
    if "." not in path or why_not(path) is not None:
        return None
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def argument_names(made: Any) -> list[str]:
    """Return the names of the arguments that a class or function takes, its bases' among them."""
    names: dict[str, None] = {}
    for one in inspect.getmro(made) if isinstance(made, type) else [made]:
        try:
            parameters = inspect.signature(one).parameters
        except (TypeError, ValueError):  # a builtin that does not tell
            continue
        names.update(dict.fromkeys(parameters))
    return [name for name in names if name not in ("self", "args", "kwargs")]


def _of_lightning(path: str) -> str | None:
    """Say what stands in the place of a class of Lightning's, which is not installed."""
    package, name = path.partition(".")[0], path.rpartition(".")[2]
    if not path.startswith(("lightning.pytorch.", "pytorch_lightning.")):
        return None
    if name in short_names():
        return f"no module {package!r}. Write {name}."
    return f"no module {package!r}. What there is of it is in lt, as in lt.strategies.DDPStrategy."


def _missing_part(module_name: str) -> str | None:
    """Say which part of a module's path is not there."""
    parts = module_name.split(".")
    for end in range(1, len(parts) + 1):
        path, parent = ".".join(parts[:end]), ".".join(parts[: end - 1])
        if path in sys.modules:
            continue
        if parent:
            package = importlib.import_module(parent)
            if not hasattr(package, "__path__"):
                inner = parts[end - 1]
                return f"{parent} is no package, it has no {inner!r} to import from."
        if importlib.util.find_spec(path) is None:
            near = _near(parts[end - 1], parent)
            where = (
                f"{parent} has no module {parts[end - 1]!r}" if parent else f"no module {path!r}"
            )
            return f"{where}.{near}"
    return None


def _near(name: str, parent: str) -> str:
    """Suggest a module; at the top, one of the project rather than any that is installed."""
    if parent:
        return suggestion(name, _modules(importlib.import_module(parent).__path__))
    return suggestion(name, _modules([os.getcwd()])) or suggestion(name, _modules(None))


def _modules(search: Iterable[str] | None) -> list[str]:
    return [found.name for found in pkgutil.iter_modules(search)]


def _bare_names() -> list[str]:
    """Return the names of classes that need no path; torch's among them where it is imported."""
    torch = [
        sys.modules[m] for m in ("torch.optim", "torch.optim.lr_scheduler") if m in sys.modules
    ]
    return [*short_names(), *(name for one in torch for name in dir(one) if name[:1].isupper())]


def _has(module: ModuleType, name: str) -> bool:
    try:
        getattr(module, name)
    except AttributeError:
        return False
    return True


def _public(module: ModuleType) -> list[str]:
    return [name for name in {*dir(module), *getattr(module, "__all__", ())} if name[:1] != "_"]
