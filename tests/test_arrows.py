"""Imports point one way: towards the pure rules, never back, never sideways."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pytest

PACKAGE = Path(__file__).parents[1] / "cachemw"

# Outermost first. A module belongs to the first row that names it, and imports from that row or
# from one below. `caching/*` takes in `caching/__init__`: importing any module of a package runs
# its `__init__` first, so that one may not reach further out than the rest.
LAYERS = [
    # what people touch
    (
        "__init__",
        "__main__",
        "installing",
        "openapi",
        "config",
        "cli",
        "cli/*",
        "testing/*",
        "dashboard/*",
        "doctor/*",
        "schema",
        "warming",
        "inspection/*",
        *("telemetry/metrics", "telemetry/tracing"),
    ),
    # await, clock, tasks, randomness
    (
        *("caching/middleware", "caching/fill", "caching/intake", "caching/tenure"),
        *("caching/flow", "caching/asking", "caching/waiting", "caching/endings"),
        *("caching/call", "caching/errand"),
        *(
            "caching/changes",
            "caching/exchange",
            "caching/flights",
            *("caching/keeper", "caching/owed", "caching/readings"),
            "caching/shelf",
            "caching/trials",
        ),
        *("caching/cache", "caching/hosts", "caching/larder", "caching/loads"),
        *("caching/memoized", "caching/purging", "caching/writing", "tokens"),
        *(
            "caching/journal",
            "caching/relay",
            "caching/endpoint",
            "caching/remote",
            "caching/fieldset",
        ),
        *("ratelimit/middleware", "ratelimit/guard", "ratelimit/ledger", "ratelimit/limiter"),
        *("ratelimit/asking", "ratelimit/marks", "ratelimit/openapi", "ratelimit/rule"),
        *("ratelimit/known", "ratelimit/passage", "ratelimit/responder"),
        *("sessions/middleware", "sessions/websocket", "sessions/guards"),
        *("sessions/holding", "sessions/sessions", "sessions/vault", "sessions/visit"),
        *("telemetry/bulletin", "telemetry/timing"),
    ),
    # bytes to and from the store; scopes and messages
    ("stores/*", "asgi", "ahead"),
    # decisions: nothing waits, and `now` is an argument
    ("routes", "routetable", "caching/*", "sessions/*", "ratelimit/*", "telemetry/*"),
    # values
    ("messages", "errors", "durations", "scripts", "clientip", "sizes", "words", "scopekeys"),
]
OUTERMOST = 0
PURE = 3  # this row and those below
IMPURE_MODULES = {"asyncio", "anyio", "random", "redis", "secrets", "time", "uuid"}
PURE_NAMES = {"uuid.UUID"}  # a value; the functions beside it draw random numbers
FEATURES = {"caching", "ratelimit", "sessions"}


def modules_of(package: Path) -> list[str]:
    """Every module, as a path without its suffix: `caching/rules`."""
    files = sorted(package.rglob("*.py"))
    return [file.relative_to(package).with_suffix("").as_posix() for file in files]


def layer_of(module: str) -> int:
    for layer, row in enumerate(LAYERS):
        if any(fnmatchcase(module, name) for name in row):
            return layer
    pytest.fail(f"cachemw/{module}.py is in no row of LAYERS: say there how far out it belongs")


def imports_of(package: Path, module: str) -> Iterator[str]:
    """What a module imports: our own as `caching/rules`, all others by their dotted name.

    Imports within functions and under TYPE_CHECKING count: they too say who knows whom.
    """
    here = PurePosixPath("cachemw", module)
    for node in ast.walk(ast.parse((package / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from ours_or_dotted(package, alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*here.parts[: -node.level], *filter(None, [node.module])])
            for alias in node.names:
                yield from ours_or_dotted(package, base, alias.name)


def ours_or_dotted(package: Path, base: str, name: str | None) -> Iterator[str]:
    if base.partition(".")[0] != "cachemw":
        yield f"{base}.{name}" if name else base
        return
    parts = base.split(".")[1:]
    candidates = [[*parts, name]] if name else []
    for found in (*candidates, parts):
        path = "/".join(found)
        if path and (package / f"{path}.py").exists():
            yield path
            return
    yield "/".join([*parts, "__init__"])


def crooked_arrows(package: Path, module: str) -> list[str]:
    """What is wrong with the imports of one module, in words."""
    here = layer_of(module)
    wrong = []
    for imported in imports_of(package, module):
        if not (package / f"{imported}.py").exists():
            impure = imported.partition(".")[0] in IMPURE_MODULES and imported not in PURE_NAMES
            if here >= PURE and impure:
                wrong.append(f"{module} decides, so it may not import {imported}")
            continue
        if layer_of(imported) < here:
            wrong.append(f"{module} reaches out to {imported}")
        features = {module.partition("/")[0], imported.partition("/")[0]} & FEATURES
        if here != OUTERMOST and len(features) == 2:
            wrong.append(f"{module} reaches sideways to {imported}")
    return wrong


@pytest.mark.parametrize("module", modules_of(PACKAGE))
def test_imports_point_inwards(module: str) -> None:
    assert crooked_arrows(PACKAGE, module) == []


# -- the check itself, on a tree made for it -------------------------------------------------------

TREE = {
    "__init__": "",
    "installing": "",
    "asgi": "",
    "errors": "",
    "routes": "",
    "stores/__init__": "",
    "stores/base": "",
    "caching/__init__": "",
    "caching/middleware": "",
    "caching/rules": "",
    "caching/policy": "",
    "sessions/session": "",
}


def crooked(tmp_path: Path, module: str, source: str) -> list[str]:
    """What the check says of one module, in a tree where all the others are empty."""
    for name, text in {**TREE, module: source}.items():
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
    return crooked_arrows(tmp_path, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("caching/rules", "from cachemw.caching.policy import CachePolicy"),
        ("caching/rules", "from cachemw import errors, routes"),
        ("caching/rules", "from . import policy"),
        ("caching/rules", "from datetime import timedelta\nfrom uuid import UUID"),
        ("caching/middleware", "import asyncio, time\nfrom cachemw.stores.base import Store"),
        ("caching/middleware", "from cachemw import asgi"),
        ("installing", "from cachemw.caching import middleware\nimport cachemw.sessions.session"),
    ],
)
def test_straight_arrows_pass(tmp_path: Path, module: str, source: str) -> None:
    assert crooked(tmp_path, module, source) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("errors", "import cachemw.routes", "errors reaches out to routes"),
        ("errors", "from cachemw import CachePolicy", "errors reaches out to __init__"),
        (
            "caching/rules",
            "from cachemw.caching.middleware import CacheMiddleware",
            "caching/rules reaches out to caching/middleware",
        ),
        (
            "caching/__init__",
            "from .middleware import CacheMiddleware",
            "caching/__init__ reaches out to caching/middleware",
        ),
        (
            "caching/rules",
            "from ..stores import base",
            "caching/rules reaches out to stores/base",
        ),
        (
            "caching/rules",
            "if TYPE_CHECKING:\n    from cachemw.stores import open_store",
            "caching/rules reaches out to stores/__init__",
        ),
        (
            "stores/base",
            "def later():\n    from cachemw.installing import install",
            "stores/base reaches out to installing",
        ),
        (
            "caching/rules",
            "import cachemw.sessions.session",
            "caching/rules reaches sideways to sessions/session",
        ),
        (
            "caching/middleware",
            "from cachemw.sessions import session",
            "caching/middleware reaches sideways to sessions/session",
        ),
        (
            "caching/rules",
            "from time import time",
            "caching/rules decides, so it may not import time.time",
        ),
        (
            "errors",
            "import redis.asyncio as r",
            "errors decides, so it may not import redis.asyncio",
        ),
    ],
)
def test_crooked_arrows_are_named(tmp_path: Path, module: str, source: str, complaint: str) -> None:
    assert crooked(tmp_path, module, source) == [complaint]


def test_a_module_of_no_row_has_to_be_given_one(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="stray.py is in no row"):
        crooked(tmp_path, "stray", "")
