"""Keep modules and functions small, and their names telling.

A module stays within 300 lines of code, the body of a function within 40. Lines of code are what
is left without blank lines, comments and docstrings, so nobody saves on explanations; a wide
signature is ruff's to judge (PLR0913), not part of the body. Some words say nothing about what is
inside and gather everything: no file, folder or class bears them.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from house import ROOT, packages

MODULE_LINES = 300
FUNCTION_LINES = 40
VAGUE_WORDS = {
    *("util", "utils", "helper", "helpers", "common", "misc", "core"),
    *("manager", "managers", "connector", "connectors", "handler", "handlers", "mixin", "mixins"),
}
LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING, tokenize.ENDMARKER),
    *(tokenize.INDENT, tokenize.DEDENT),
}


def is_documentation(node: ast.AST) -> bool:
    """Whether a statement is a string on its own, such as a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def lines_of(node: ast.stmt) -> range:
    assert node.end_lineno is not None
    return range(node.lineno, node.end_lineno + 1)


def code_lines(text: str, tree: ast.Module) -> set[int]:
    """The numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and is_documentation(node):
            lines.difference_update(lines_of(node))
    return lines


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}


def too_long(path: Path, text: str) -> Iterator[str]:
    tree = ast.parse(text)
    code = code_lines(text, tree)
    if len(code) > MODULE_LINES:
        yield f"{path}:1: {len(code)} lines of code; a module has at most {MODULE_LINES}: split it"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = sum(line in code for stmt in node.body for line in lines_of(stmt))
            if size > FUNCTION_LINES:
                yield (
                    f"{path}:{node.lineno}: {node.name} has {size} lines of code; "
                    f"a function has at most {FUNCTION_LINES}: split it"
                )


def vague(path: Path, text: str) -> Iterator[str]:
    for part in path.with_suffix("").parts:
        if found := words(part) & VAGUE_WORDS:
            yield f"{path}:1: the word {found} in a file name says nothing: name what is inside"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and (found := words(node.name) & VAGUE_WORDS):
            yield f"{path}:{node.lineno}: the word {found} in {node.name}: name what it does"


def mistakes(path: Path, text: str) -> list[str]:
    return [*too_long(path, text), *vague(path, text)]


def main() -> int:
    sources = [package.source for package in packages()] + [ROOT / "tools"]
    files = sorted(path for source in sources for path in source.rglob("*.py"))
    found = [m for f in files for m in mistakes(f.relative_to(ROOT), f.read_text("utf-8"))]
    for line in found:
        print(line)
    print(f"sizes and names: {len(files)} files, {len(found)} mistakes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
