"""`cachemw config`: the right is silent, the wrong is named, and editors are told the shape."""

import json
import tomllib
from pathlib import Path

import pytest

from cachemw.caching.options import PolicyOptions
from cachemw.schema import schema
from cachemw.sessions.options import SessionOptions
from tests.cli.terminal import piped

GOOD = """
store = "redis://:secret@h:6379/0"
[policies.hot]
policy = "docs"
ttl = "5m"
[cache."/products/{id}"]
policy = "hot"
tags = ["product:{id}"]
[cache]
"/about" = "static"
[limits]
"/api/{rest:path}" = ["100/minute", "5000/day"]
[limits."POST /login"]
limits = "5/minute"
block = "10m"
[sessions]
idle = "30m"
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "cachemw.toml"
    path.write_text(text)
    return str(path)


def test_what_is_right_is_shown_without_its_password(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    assert piped("config", "check", path).code == 0
    shown = piped("config", "show", path)
    assert "secret" not in shown.out
    assert "cache\t/products/{id}\tttl 5m; stale_while_revalidate 1d" in shown.out
    told = [json.loads(line) for line in piped("config", "show", path, "--json").lines]
    assert {one["section"] for one in told} == {"store", "policies", "cache", "limits", "sessions"}


def test_variables_are_laid_over_it(tmp_path: Path) -> None:
    shown = piped("config", "show", written(tmp_path, GOOD), CACHEMW_POLICIES__HOT__TTL="7m")
    assert "cache\t/products/{id}\tttl 7m" in shown.out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[cache]\n'/a' = {tll = '5m'}", "ttl"),
        ("[cache]\n'/a' = 'hot'", "hot"),
        ("[cache]\n'/{a}' = 'static'\n'/b' = 'static'", "can never match"),
        ("[limits]\n'/a' = 'often'", "often"),
        ("[sessions]\nidel = '5m'", "idle"),
        ("store = 'reddis://h'", "redis"),
        ("[chache]", "cache"),
        ("nonsense", "cachemw.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    ended = piped("config", "check", written(tmp_path, text))
    assert ended.code == 2
    assert complaint in ended.err


def test_the_schema_knows_every_option_that_can_be_written() -> None:
    told = json.loads(piped("config", "schema").out)
    assert told == schema()
    properties = told["properties"]
    policy = properties["policies"]["additionalProperties"]["properties"]
    assert set(policy) == {*PolicyOptions.__annotations__, "policy"}
    sessions = set(properties["sessions"]["properties"])
    assert sessions == set(SessionOptions.__annotations__) - {"audit"}


def test_the_schema_takes_what_is_right_and_nothing_misspelt() -> None:
    jsonschema = _Checker(schema())
    assert jsonschema.accepts(tomllib.loads(GOOD))
    for wrong in ("store = 5", "[cache.'/a']\ntll = 5", "[sessions]\nidel = 5", "[chache]"):
        assert not jsonschema.accepts(tomllib.loads(wrong)), wrong


class _Checker:
    """As much of JSON Schema as ours uses."""

    def __init__(self, told: dict[str, object]) -> None:
        self.told = told

    def accepts(self, value: object) -> bool:
        return _fits(value, self.told)


def _fits(value: object, told: dict[str, object]) -> bool:
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool}
    match told:
        case {"anyOf": list(choices)}:
            return any(_fits(value, choice) for choice in choices)
        case {"enum": list(choices)}:
            return value in choices
        case {"type": "integer"}:
            return isinstance(value, int) and not isinstance(value, bool)
        case {"type": "number"}:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case {"type": "object"}:
            return isinstance(value, dict) and _all_fit(value, told)
        case {"type": "array", "items": dict(items)}:
            return isinstance(value, list) and all(_fits(one, items) for one in value)
        case {"type": str(kind)}:
            return isinstance(value, kinds[kind])
        case _:
            return True


def _all_fit(value: dict[str, object], told: dict[str, object]) -> bool:
    properties = told.get("properties", {})
    others = told.get("additionalProperties", True)
    assert isinstance(properties, dict)
    for name, one in value.items():
        inner = properties.get(name, others)
        if inner is False or (isinstance(inner, dict) and not _fits(one, inner)):
            return False
    required = told.get("required", [])
    assert isinstance(required, list)
    return all(name in value for name in required)
