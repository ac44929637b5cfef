"""Where in the configuration files something is written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Place:
    """A place in a configuration.

    Attributes:
        path: keys and indices: ``trainer.callbacks[0].init_args.patience``.
        value: what stands there.
        owner: the ``class_path`` of the object it is an argument of, if any.
    """

    path: str
    value: Any
    owner: str | None


def places(tree: Any, path: str = "", owner: str | None = None) -> Iterator[Place]:
    """Yield every place of a configuration, outer ones first.

    >>> tree = {"model": {"class_path": "my.Model", "init_args": {"width": 3}}}
    >>> [place.path for place in places(tree)]
    ['model', 'model.class_path', 'model.init_args', 'model.init_args.width']
    >>> [place.owner for place in places(tree)][-1]
    'my.Model'
    """
    if isinstance(tree, dict):
        own = tree.get("class_path", owner)
        for key, value in tree.items():
            at = f"{path}.{key}" if path else str(key)
            yield Place(at, value, str(own) if own else None)
            yield from places(value, at, own)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from places(value, f"{path}[{index}]", owner)


def find_place(files: list[Path], wanted: Callable[[Place], bool]) -> tuple[Path, Place] | None:
    """Return the first place that is wanted, with the file it stands in; later files first."""
    for file in reversed(files):
        for place in places(read(file)):
            if wanted(place):
                return file, place
    return None


def read(file: Path) -> Any:
    """Return what a file holds; None where it can't be read."""
    try:
        return yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def syntax_error(file: Path) -> str | None:
    """Say where the syntax of a file is wrong; None where it is not."""
    try:
        yaml.safe_load(file.read_text("utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return f"{line}{error.problem}"
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        return " ".join(str(error).split())
    except OSError as error:
        return str(error.strerror)
    return None
