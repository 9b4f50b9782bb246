"""The public names: each is there, and costs nothing until it is asked for."""

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cachemw


def imported_for_type_checkers() -> dict[str, str]:
    """Names, and the modules that the package's `__init__` imports them from."""
    tree = ast.parse(Path(cachemw.__file__).read_text("utf-8"))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {
        alias.name: (node.module or "").removeprefix("cachemw.")
        for node in found
        if (node.module or "").startswith("cachemw.")
        for alias in node.names
    }


def test_type_checkers_see_what_there_is() -> None:
    assert imported_for_type_checkers() == cachemw._HOMES
    assert sorted(cachemw._HOMES) == sorted(cachemw.__all__)
    assert set(cachemw.__all__) <= set(dir(cachemw))


@pytest.mark.parametrize("name", cachemw.__all__)
def test_a_name_is_what_it_says(name: str) -> None:
    """Above all no module of the same name."""
    found = getattr(cachemw, name)
    assert not isinstance(found, ModuleType)
    assert getattr(cachemw, name) is found


def test_a_name_that_is_not_there_is_missed() -> None:
    name = "CachePolizy"
    with pytest.raises(AttributeError, match="no attribute 'CachePolizy'"):
        getattr(cachemw, name)


@pytest.mark.parametrize(
    ("asked", "spared"),
    [
        ("import cachemw", ["pydantic", "redis", "starlette", "msgspec", "ssl", "cachemw.stores"]),
        ("from cachemw import StoreUnavailable", ["pydantic", "redis", "starlette"]),
        ("from cachemw import install", ["fastapi", "yaml", "click", "rich", "cachemw.dashboard"]),
    ],
)
def test_what_is_not_needed_is_not_imported(asked: str, spared: list[str]) -> None:
    code = f"{asked}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(spared).isdisjoint(done.stdout.split())
