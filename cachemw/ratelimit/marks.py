"""The rules that stand on the routes of an app, as dependencies or decorators.

Read once at start-up, for what must be right before the first request: names, and the OpenAPI
document. Requests do not need this.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from starlette.routing import BaseRoute, Host, Mount, WebSocketRoute

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.guard import MARK, signature_of
from cachemw.ratelimit.rule import RateLimit
from cachemw.routes import AppRoute, Pattern, Routes, effective_routes


def rules_on(route: AppRoute) -> Iterator[RateLimit]:
    """The rules of a route of a Starlette or FastAPI app, its routers and its app included."""
    for carrier in route.carriers:
        yield from rules_of(carrier)


def rules_on_sockets(routes: Sequence[BaseRoute]) -> Iterator[list[RateLimit]]:
    """The rules of each WebSocket route among these and those mounted below."""
    for route, seen in effective_routes(routes):
        if isinstance(route, WebSocketRoute):
            carriers = (*getattr(seen, "dependencies", ()), seen.endpoint)
            yield [rule for carrier in carriers for rule in rules_of(carrier)]
        elif isinstance(route, Mount | Host):
            yield from rules_on_sockets(seen.routes)


def rules_at(place: Pattern, routes: Routes[tuple[RateLimit, ...]]) -> Iterator[RateLimit]:
    """The middleware's rules that count in the same place as those of a route."""
    for pattern, rules in routes.entries:
        methods = pattern.methods or place.methods or frozenset[str]()
        if pattern.text == place.text and any(map(place.takes, methods)):
            yield from rules


def rules_of(carrier: object) -> Iterator[RateLimit]:
    """The rules in a `Depends(...)`, on a decorated endpoint, or among its parameters."""
    dependency = getattr(carrier, "dependency", None)
    if isinstance(dependency, RateLimit):
        yield dependency
    yield from cast(Iterable[RateLimit], getattr(carrier, MARK, ()))
    if callable(carrier) and not inspect.isclass(carrier):
        for parameter in signature_of(carrier).parameters.values():
            for hint in (parameter.default, *getattr(parameter.annotation, "__metadata__", ())):
                if isinstance(getattr(hint, "dependency", None), RateLimit):
                    yield hint.dependency


def demand_distinct_names(rules: Iterable[RateLimit]) -> None:
    """Complain about two rules of one name that do not mean the same."""
    named: dict[str, RateLimit] = {}
    for rule in rules:
        if rule.name is None:
            continue
        other = named.setdefault(rule.name, rule)
        if other is not rule and other.meaning != rule.meaning:
            raise ConfigurationError(
                f"{other!r} and {rule!r} share a name, and so their counters, but differ: "
                "rename one, or use one object in both places"
            )


def demand_distinct_meanings(rules: Iterable[RateLimit]) -> None:
    """Complain about rules without a name that stand in one place, differ, and look the same."""
    known: dict[str, RateLimit] = {}
    for rule in rules:
        other = rule if rule.name else known.setdefault(rule.asking.told_by, rule)
        if other.meaning != rule.meaning:
            raise ConfigurationError(
                f"two rules {rule!r} in one place differ only in functions of the same name, so "
                "their counters cannot be told apart: give one of them a name="
            )
