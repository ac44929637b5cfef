"""The names of checkpoints: templates in which epoch, step and metrics are put."""

import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{([^{}:]+)(:[^{}]*)?\}")

DEFAULT = "{epoch}-{step}"


def filled(template: str, values: Mapping[str, float], *, insert_names: bool = True) -> str:
    """Return a template with values in it; one that is not known counts as 0, as in Lightning.

    >>> filled("{epoch:03d}-{val/loss:.2f}", {"epoch": 5, "val/loss": 0.123})
    'epoch=005-val_loss=0.12'
    >>> filled("at{step}", {"step": 7}, insert_names=False)
    'at7'

    A slash in the name of a metric becomes ``_``: it would be a folder.

    Raises:
        ValueError: a value can't be written in the format that the template asks for.
    """

    def one(found: re.Match[str]) -> str:
        name, form = found[1], (found[2] or ":")[1:]
        value = values.get(name, 0)
        try:
            text = format(int(value) if form.endswith("d") else value, form)
        except (ValueError, OverflowError, TypeError) as error:
            raise ValueError(
                f"A template formats numbers. Received {found[0]} in filename={template!r} and "
                f"the value {value!r}: {error}."
            ) from error
        return f"{name.replace('/', '_')}={text}" if insert_names else text

    return _FIELD.sub(one, template)


def check(template: str) -> None:
    """Refuse a template that gives no name in a folder.

    Raises:
        ValueError: it has a folder in it, or begins with a dot.
    """
    literal = _FIELD.sub("", template)
    if "/" in literal or "\\" in literal or template.startswith("."):
        raise ValueError(
            "filename is the name of a checkpoint in dirpath, which does not begin with a dot. "
            f"Received filename={template!r}. Put folders into dirpath."
        )
    if "{" in literal or "}" in literal:
        raise ValueError(
            "filename holds the names of metrics in braces. Received "
            f"filename={template!r}, in which a brace has no partner. Write '{{epoch}}-{{step}}'."
        )
