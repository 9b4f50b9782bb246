"""Code that is shown is code that runs: excerpts of a source file, found by name.

A name is that of a function (with its decorators), of a variable that is assigned, or of a route in
a list of them. Colours are Pygments' classes, whose colours the page's style sheet has.
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer


def excerpt(file: Path, names: Sequence[str]) -> str:
    """The statements that define `names`, in the order in which the file has them."""
    text = file.read_text("utf-8")
    found = {
        name: piece
        for node in ast.parse(text).body
        for name, piece in _pieces(node, text.splitlines())
        if name in names
    }
    missing = [name for name in names if name not in found]
    if missing:
        raise LookupError(f"{file.name} defines no {', '.join(missing)}")
    return "\n\n".join(found.values()) + "\n"


def coloured(code: str) -> str:
    """The code as HTML."""
    return str(highlight(code, PythonLexer(), HtmlFormatter(nowrap=True)))


def _pieces(node: ast.stmt, lines: list[str]) -> Iterator[tuple[str, str]]:
    first = node.lineno
    names: list[str] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        names = [node.name]
        first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
    elif isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
    for name in names:
        yield name, "\n".join(lines[first - 1 : node.end_lineno])
