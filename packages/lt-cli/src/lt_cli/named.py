"""What the user wrote, and the classes that it names by their bare name.

A configuration imports what it names, and nothing else: ``callbacks: EarlyStopping`` imports that
class of lt-callbacks, ``optimizer: Adam`` imports torch's optimizers.
"""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SHORT_NAMES = ("lt_callbacks", "lt_checkpoint")
"""Packages whose public classes may be written without a path."""

ArgsType = Sequence[str] | Mapping[str, Any] | None
"""What may be given for the command line: a list of words, a configuration, None for sys.argv."""


def config_files(arguments: Iterable[str]) -> list[Path]:
    """Return the files among the words of a command line, or after an ``=`` in one of them."""
    words = (word.partition("=")[2] if word.startswith("-") else word for word in arguments)
    paths = (Path(word) for word in words if word.endswith((".yaml", ".yml", ".json")))
    return [path for path in paths if path.is_file()]


def words_written(arguments: ArgsType) -> set[str]:
    """Return every word of a command line and of the configuration files it names.

    >>> sorted(words_written(["--optimizer", "Adam", "--optimizer.lr=0.1"]))
    ['0', '1', 'Adam', 'lr', 'optimizer']
    """
    if arguments is None or isinstance(arguments, Mapping) or not isinstance(arguments, Sequence):
        texts = [str(arguments)]
    else:
        files = (path.read_text("utf-8", "replace") for path in config_files(arguments))
        texts = [*arguments, *files]
    return {word for text in texts for word in re.findall(r"\w+", text)}


def short_names() -> dict[str, str]:
    """Return the package of each public name that may be written without a path."""
    return {name: package for package in SHORT_NAMES for name in _public_names(package)}


def _public_names(package: str) -> list[str]:
    """Return what a package's ``__all__`` says; its source is read, it is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    for statement in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if value is not None and any(getattr(one, "id", "") == "__all__" for one in targets):
            return list(ast.literal_eval(value))
    return []


def import_named(words: Iterable[str]) -> None:
    """Import the classes that are written by their bare name, so that the parser finds them."""
    capitalized = [word for word in words if word[:1].isupper()]
    if not capitalized:
        return
    known = short_names()
    for word in capitalized:
        if word in known:
            getattr(importlib.import_module(known[word]), word)
