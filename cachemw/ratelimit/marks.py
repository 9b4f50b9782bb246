"""The rules that stand on the routes of an app, as dependencies or decorators.

Read once at start-up, for what must be right before the first request: names, and the OpenAPI
document. Requests do not need this.
"""

import inspect
from collections.abc import Iterable, Iterator
from typing import cast

from cachemw.errors import ConfigurationError
from cachemw.ratelimit.guard import MARK, signature_of
from cachemw.ratelimit.rule import RateLimit
from cachemw.routes import app_routes


def rules_on(app: object) -> Iterator[RateLimit]:
    """Every rule on a route of a Starlette or FastAPI app."""
    for route in app_routes(app):
        for carrier in route.carriers:
            yield from rules_of(carrier)


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
