"""The names of checkpoints: templates in which epoch, step and metrics are put."""

import math
import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{([^{}:]+)(:[^{}]*)?\}")

_NO_NAME = re.compile(r"[/\\\x00-\x1f\x7f]")
"""What has no place in the name of a file: separators, control characters."""

DEFAULT = "{epoch}-{step}"

LONGEST = 200
"""Bytes of a name without its extension. Of the 255 that file systems take, versions and the
folders in which checkpoints are made ready need some."""


def filled(template: str, values: Mapping[str, float], *, insert_names: bool = True) -> str:
    """Return a template with values in it; one that is not known counts as 0, as in Lightning.

    >>> filled("{epoch:03d}-{val/loss:.2f}", {"epoch": 5, "val/loss": 0.123})
    'epoch=005-val_loss=0.12'
    >>> filled("at{step}", {"step": 7}, insert_names=False)
    'at7'

    A slash in the name of a metric becomes ``_``: it would be a folder. What follows the first
    colon is a format, so that a metric with a colon in its name has no place in a template. Where
    a whole number is asked for (``d``) and the value is not finite, it is written as it is.

    Raises:
        ValueError: a value can't be written in the format that the template asks for.
    """

    def one(found: re.Match[str]) -> str:
        name = found[1]
        text = _written(template, found, values.get(name, 0))
        return f"{name.replace('/', '_')}={text}" if insert_names else text

    return _FIELD.sub(one, template)


def check(template: str, *, insert_names: bool = True) -> None:
    """Refuse a template that gives no name in a folder, as far as that is known without values.

    Raises:
        ValueError: it has a folder in it, begins with a dot, is longer than a file system allows,
            or asks for a format that its value does not have.
    """
    literal = _FIELD.sub("", template)
    if "{" in literal or "}" in literal:
        raise ValueError(
            "filename holds the names of metrics in braces. Received "
            f"filename={template!r}, in which a brace has no partner. Write '{{epoch}}-{{step}}'."
        )
    likely: dict[str, float] = {found[1]: 1.5 for found in _FIELD.finditer(template)}
    likely |= {"epoch": 1, "step": 1}
    short, long = (filled(template, likely, insert_names=named) for named in (False, True))
    if any(name.startswith(".") or _NO_NAME.search(name) for name in (short, long)):
        raise ValueError(
            "filename is the name of a checkpoint in dirpath, which does not begin with a dot. "
            f"Received filename={template!r}. Put folders into dirpath."
        )
    if (size := len((long if insert_names else short).encode(errors="replace"))) > LONGEST:
        raise ValueError(
            f"filename is at most {LONGEST} bytes long once values are in it: file systems take "
            "255, and versions and the names of what is not complete yet are longer. Received one "
            f"that gives {size}: filename={template!r}. Shorten it."
        )


def _written(template: str, found: re.Match[str], value: float) -> str:
    """Return a value as a field asks for it.

    One that is not finite has no whole number: it is written as it is, since a checkpoint is worth
    more than the width of its name.
    """
    form = (found[2] or ":")[1:]
    try:
        if form.endswith("d"):
            return format(int(value), form) if math.isfinite(value) else str(value)
        return format(value, form)
    except (ValueError, OverflowError, TypeError) as error:
        raise ValueError(
            f"A template formats numbers. Received {found[0]} in filename={template!r} and "
            f"the value {value!r}: {error}. What follows a colon is a format, so a metric that has "
            "a colon in its name can't be in a template."
        ) from error
