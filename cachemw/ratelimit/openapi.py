"""Refusals in the OpenAPI document: 429, and 503 where a rule closes with the store.

Adds to what FastAPI generates, never over what the app describes itself. Knows rules and routes,
no requests.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cachemw.ratelimit.marks import rules_on
from cachemw.ratelimit.rule import RateLimit
from cachemw.routes import AppRoute, Routes, app_routes

Schema = dict[str, Any]

_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_SAMPLES = {"int": "0", "float": "0.0", "uuid": "00000000-0000-0000-0000-000000000000"}

_LIST_FIELD = {"schema": {"type": "string"}}
_HEADERS: Schema = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    "RateLimit": {"description": "What is left of each limit, and for how long.", **_LIST_FIELD},
    "RateLimit-Policy": {"description": "The limits that apply.", **_LIST_FIELD},
}
_PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "violated-policies": {"type": "array", "items": {"type": "string"}},
    },
}


def document(
    app: Any, routes: Routes[tuple[RateLimit, ...]], default: tuple[RateLimit, ...]
) -> None:
    """Have `app.openapi()` tell of refusals, by the middleware's rules and the routes' own."""
    generate: Callable[[], Schema] | None = getattr(app, "openapi", None)
    if generate is None or getattr(generate, "__cachemw__", False):
        return

    def openapi() -> Schema:
        schema = generate()
        for route, method, path, operation in operations(app, schema):
            found = routes.match(method, path)
            rules = [*(found.policy if found else default), *rules_on(route)]
            _describe(operation, [rule for rule in rules if not rule.shadow])
        return schema

    openapi.__cachemw__ = True  # type: ignore[attr-defined]
    app.openapi = openapi


def refusals(rules: Iterable[RateLimit]) -> dict[str, Schema]:
    """The responses to document for an operation under `rules`."""
    content = {"application/problem+json": {"schema": _PROBLEM}}
    told = {"429": {"description": "Too Many Requests", "headers": _HEADERS, "content": content}}
    if any(rule.on_outage == "closed" for rule in rules):
        retry = {"Retry-After": _HEADERS["Retry-After"]}
        told["503"] = {"description": "Service Unavailable", "headers": retry, "content": content}
    return told


def operations(app: Any, schema: Schema) -> Iterator[tuple[AppRoute, str, str, Schema]]:
    """The routes of an app that its document describes: route, method, a path that leads to it,
    and what is said of it, to be added to."""
    for route in app_routes(app):
        path = _PARAMETER.sub(r"{\1}", route.pattern.text)
        described: Mapping[str, Schema] = schema.get("paths", {}).get(path, {})
        sample = _PARAMETER.sub(lambda hole: _SAMPLES.get(hole[2], "x"), route.pattern.text)
        for method in route.pattern.methods or ():
            operation = described.get(method.lower())
            if operation is not None:
                yield route, method, sample, operation


def _describe(operation: Schema, rules: list[RateLimit]) -> None:
    responses: Schema = operation.setdefault("responses", {})
    for status, response in refusals(rules).items() if rules else ():
        responses.setdefault(status, response)
