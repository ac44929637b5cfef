"""Hyper-parameters for a logger: nested ones as plain data, on one level, and as YAML."""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any

_BARE_KEY = re.compile(r"(?!(?:true|false|yes|no|on|off|null)$)[A-Za-z_][A-Za-z0-9_]*", re.I)
"""Keys that YAML reads as a string without quotation marks."""


def as_plain(value: Any) -> Any:
    """Return hyper-parameters as dicts, lists, numbers, booleans, strings and None.

    Namespaces and dataclasses become dicts. What has no such form becomes ``str(value)``.

    >>> as_plain(Namespace(lr=0.1, betas=(0.9, 0.99), extra={"act": complex}))
    {'lr': 0.1, 'betas': [0.9, 0.99], 'extra': {'act': "<class 'complex'>"}}
    """
    if isinstance(value, Namespace):
        value = vars(value)
    elif is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(part) for part in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):  # numpy's too
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


def flattened(params: Mapping[str, Any], *, below: str = "") -> Iterator[tuple[str, Any]]:
    """Yield plain hyper-parameters on one level, named ``outer/inner``.

    >>> list(flattened({"lr": 0.1, "optimizer": {"betas": [0.9, 0.99]}}))
    [('lr', 0.1), ('optimizer/betas', '[0.9, 0.99]')]
    """
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from flattened(value, below=f"{below}{key}/")
        else:
            yield below + key, str(value) if isinstance(value, list) else value


def as_yaml(params: Mapping[str, Any], *, indent: str = "") -> str:
    """Return plain hyper-parameters as YAML, which any version of it reads back the same.

    >>> print(as_yaml({"lr": 1e-05, "act": "relu", "optimizer": {"betas": [0.9, 0.99]}}), end="")
    lr: 1.0e-05
    act: "relu"
    optimizer:
      betas: [0.9, 0.99]
    """
    lines = []
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            lines.append(f"{indent}{_key(key)}:\n{as_yaml(value, indent=indent + '  ')}")
        else:
            lines.append(f"{indent}{_key(key)}: {_inline(value)}\n")
    return "".join(lines)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def _inline(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)}: {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return _float(value)
    return _quoted(value) if isinstance(value, str) else str(value).lower()


def _float(value: float) -> str:
    text = repr(value)
    if text.endswith(("inf", "nan")):
        return text.replace("inf", ".inf").replace("nan", ".nan")
    digits, e, exponent = text.partition("e")
    return text if "." in digits else f"{digits}.0{e}{exponent}"  # 1e-05 is a string in YAML 1.1


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
