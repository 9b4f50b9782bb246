"""The JSON schema of `cachemw.toml`, for editors that complete and check as one writes.

Derived from the very options that code takes, so that it cannot lag behind them. It checks shapes;
what cannot be meant although it is well-formed is found by `load_settings`.
"""

import collections.abc
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from cachemw.caching.options import PolicyOptions
from cachemw.caching.policy import PRESETS
from cachemw.config import FUNCTIONS
from cachemw.ratelimit.rule import RateLimit
from cachemw.sessions.options import SessionOptions

Schema: TypeAlias = dict[str, Any]

_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}
_FUNCTION: Schema = {"type": "string", "pattern": r"^[\w.]+:[\w.]+$"}
# What a file hands on as it is; a function cannot be written there.
_OF_LIMITS = ("name", "by", "cost", "cost_on_hit", "on_outage", "shadow", "block", "algorithm")


def schema() -> Schema:
    """The schema of a settings file."""
    policy = _table(get_type_hints(PolicyOptions), functions=FUNCTIONS)
    policy["properties"]["policy"] = {
        "type": "string",
        "description": "A preset or one of [policies], whose options these are laid over.",
        "examples": sorted(PRESETS),
    }
    named: Schema = {"type": "string", "description": "The name of a preset or of a policy."}
    limit = {"type": "string", "examples": ["100/minute", "50/10s"]}
    limits: Schema = {"anyOf": [limit, {"type": "array", "items": limit}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cachemw",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "store": {"type": "string", "examples": ["redis://localhost:6379/0"]},
            "policies": {"type": "object", "additionalProperties": policy},
            "cache": {"type": "object", "additionalProperties": {"anyOf": [named, policy]}},
            "limits": {"type": "object", "additionalProperties": _limit(limits)},
            "sessions": _table(get_type_hints(SessionOptions)),
        },
    }


def _limit(limits: Schema) -> Schema:
    parameters = inspect.signature(RateLimit.__init__).parameters
    options = {name: _of_default(parameters[name].default) for name in _OF_LIMITS}
    table = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"limits": limits, **options},
        "required": ["limits"],
    }
    return {"anyOf": [*limits["anyOf"], table]}


def _of_default(default: object) -> Schema:
    plain = _PLAIN.get(type(default))
    return {} if plain is None else dict(plain)


def _table(hints: Mapping[str, Any], functions: Sequence[str] = ()) -> Schema:
    properties = {
        name: _FUNCTION if name in functions else _schema_of(hint) for name, hint in hints.items()
    }
    told = {name: told for name, told in properties.items() if told}
    return {"type": "object", "additionalProperties": False, "properties": told}


def _schema_of(hint: Any) -> Schema:
    """What may be written for a type; empty for what only code can say."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        choices = [told for one in arguments if (told := _schema_of(one))]
        unique = [told for at, told in enumerate(choices) if told not in choices[:at]]
        return unique[0] if len(unique) == 1 else {"anyOf": unique} if unique else {}
    if origin is collections.abc.Mapping:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1])}
    if origin in (collections.abc.Iterable, collections.abc.Sequence):
        items = _schema_of(arguments[0])
        return {"anyOf": [items, {"type": "array", "items": items}]} if items else {}
    return {}
