"""What a method logs, read from its source without running it."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any


def logged_names(owner: Any, method: Callable[..., Any]) -> list[str]:
    """Return the names that a method passes to ``log`` and ``log_dict``, as far as they show.

    Methods of the owner that it calls are read too. What is put together at run time is shown in
    braces, as in an f-string; nothing is known of methods without a source.
    """
    found: dict[str, None] = {}
    waiting, seen = [method], set[Any]()
    while waiting:
        function = inspect.unwrap(waiting.pop())
        function = getattr(function, "__func__", function)
        if function in seen:
            continue
        seen.add(function)
        for attribute, call in _calls(function):
            if attribute.attr in ("log", "log_dict"):
                found.update(dict.fromkeys(_names(call)))
            elif isinstance(attribute.value, ast.Name) and attribute.value.id == "self":
                called = getattr(type(owner), attribute.attr, None)
                waiting += [called] if inspect.isfunction(called) else []
    return list(found)


def _calls(function: Callable[..., Any]) -> Iterator[tuple[ast.Attribute, ast.Call]]:
    """Yield the calls of attributes in the source of a function."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # made at run time, or written in C
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func, node


def _names(call: ast.Call) -> list[str]:
    by_keyword = [k.value for k in call.keywords if k.arg in ("name", "dictionary")]
    given = (call.args or by_keyword)[:1]
    if given and isinstance(given[0], ast.Dict):
        given = [key for key in given[0].keys if key is not None]
    return [_shown(node) for node in given]


def _shown(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}"
            if isinstance(part, ast.FormattedValue)
            else _shown(part)
            for part in node.values
        )
    return f"{{{ast.unparse(node)}}}"
