"""Do the tests notice when a rule is changed? A sample of small changes, and which of them survive.

    python -m tests.mutants 20              twenty mutants of each pure module, drawn with a seed

Each mutant differs in one place: a comparison, an `and`, a `not`, a number, a sign, or a condition
that is always or never true. Its tests run in a forked child that imports the changed module in
place of the real one. A survivor is printed with its line.
"""

import ast
import copy
import importlib.abc
import importlib.util
import io
import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
HERE = "tests/caching/"
MODULES = {
    "cachemw.ratelimit.window": ["tests/ratelimit/test_window.py"],
    "cachemw.caching.keys": [HERE + "test_keys.py", HERE + "test_regressions_keys.py"],
    "cachemw.caching.freshness": [HERE + "test_freshness.py", HERE + "test_rules.py"],
    "cachemw.caching.storing": [HERE + "test_storing.py", HERE + "test_rules.py"],
    "cachemw.caching.validation": [HERE + "test_validation.py", HERE + "test_rules.py"],
    "cachemw.caching.cache_control": [HERE + "test_cache_control.py"],
    "cachemw.caching.rules": [HERE + "test_rules.py", HERE + "test_safety.py"],
    "cachemw.caching.stamps": [
        HERE + "test_purge_model.py",
        HERE + "test_cache_purge.py",
        HERE + "test_scripts.py",
    ],
}
PATIENCE = 240  # seconds; a mutant that runs for ever is noticed, too
OTHER: dict[type[ast.AST], Any] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add,
}  # fmt: skip


def changes(tree: ast.Module) -> Iterator[tuple[int, str, ast.Module]]:
    """Every mutant of a module: its line, what is changed, and the tree."""
    for number, node in enumerate(ast.walk(tree)):
        for what in _ways(node):
            mutant = copy.deepcopy(tree)
            twin = list(ast.walk(mutant))[number]
            _change(twin, what)
            yield getattr(node, "lineno", 0), what, ast.fix_missing_locations(mutant)


def _ways(node: ast.AST) -> Sequence[str]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
        return ["another comparison"]
    if isinstance(node, ast.BoolOp):
        return ["and for or"]
    if isinstance(node, ast.BinOp) and type(node.op) in OTHER:
        return ["another sign"]
    if isinstance(node, ast.If | ast.IfExp):
        return ["always", "never"]
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return ["one more"]
    return []


def _change(node: Any, what: str) -> None:
    if isinstance(node, ast.Compare):
        node.ops[0] = OTHER[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp | ast.BinOp):
        node.op = OTHER[type(node.op)]()
    elif isinstance(node, ast.If | ast.IfExp):
        node.test = ast.Constant(what == "always")
    else:
        node.value += 1


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a tree."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self._name, self._tree = name, tree

    def find_spec(self, name: str, path: object, target: object = None) -> Any:
        return importlib.util.spec_from_loader(name, self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, self._name, "exec"), module.__dict__)


def survives(name: str, tree: ast.Module, tests: Sequence[str]) -> bool:
    """Whether all tests pass with this tree in the module's place."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        sys.meta_path.insert(0, _Instead(name, tree))
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            options = [
                "-x",
                "-q",
                "-n0",
                "-p",
                "no:cacheprovider",
                "-W",
                "ignore",
                "-m",
                "not slow",
            ]
            code = pytest.main([*options, *tests])
        os._exit(int(code))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def main(many: int, names: Sequence[str]) -> None:
    chance = random.Random(9)
    for name, tests in MODULES.items():
        if names and name.rpartition(".")[2] not in names:
            continue
        source = (ROOT / (name.replace(".", "/") + ".py")).read_text("utf-8")
        tree = ast.parse(source)
        if not survives(name, tree, tests):
            sys.exit(f"{name}: its tests fail unchanged")
        every = list(changes(tree))
        sample = chance.sample(every, min(many, len(every)))
        lived = [(line, what) for line, what, mutant in sample if survives(name, mutant, tests)]
        print(f"{name}: {len(sample)} of {len(every)} mutants, {len(lived)} survived", flush=True)
        for line, what in sorted(lived):
            print(f"  {line}: {what}: {source.splitlines()[line - 1].strip()}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2:])
