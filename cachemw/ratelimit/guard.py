"""Rules on routes: what a FastAPI dependency and a decorated endpoint do with a connection.

Finds out which route it stands on, has the rule charge the ledger, and raises `RateLimited`. Works
wherever the limit middleware is somewhere outside.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import Scope

from cachemw.errors import ConfigurationError
from cachemw.ratelimit import refusal
from cachemw.ratelimit.identity import is_nobodys
from cachemw.ratelimit.ledger import LEDGER, Ledger
from cachemw.ratelimit.limiter import decision_of
from cachemw.ratelimit.refusal import RateLimited
from cachemw.ratelimit.verdicts import Decision, Demand, Verdict
from cachemw.routes import AppRoute, Matched

if TYPE_CHECKING:
    from cachemw.ratelimit.rule import RateLimit

MARK = "__cachemw_limits__"
"""The attribute by which a decorated endpoint tells its rules, innermost first."""

SERVED_BY = "cachemw.served_by"
"""The scope key of what the middleware looks up, and with which arguments, once it is asked: the
app's route for this."""

_COUNTED_APART = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
COUNTED_AS = {**{method: method for method in _COUNTED_APART}, "HEAD": "GET"}
"""Methods as they are counted. All others are one, `OTHER`."""
OTHER = "OTHER"

_INJECTED = "cachemw_connection"


async def enforce(
    rule: "RateLimit", connection: HTTPConnection, injected: Mapping[str, Any], again: bool = False
) -> Decision:
    """Charge a connection by one rule; raises `RateLimited` when it is refused.

    What was decided is of interest to those who ask `again`; on the short way it is left empty.
    """
    scope = connection.scope
    ledger: Ledger | None = scope.get(LEDGER)
    if ledger is None:
        raise ConfigurationError(
            f"{rule!r} stands on {route_of(scope)!r}, but there is no RateLimitMiddleware around "
            "the app: call install(app, ...) or app.add_middleware(RateLimitMiddleware, store=...)"
        )
    rule.bind(ledger.limiter)
    if is_nobodys(scope):
        return Decision()
    place = f"{method_of(scope)} {route_of(scope)}"
    toll = None
    if not injected and not again and ledger.is_untouched:
        toll = rule.asking.toll(scope, place)
    if toll is not None:
        refused = await ledger.pay(toll)
        return Decision() if refused is None else _judged(scope, refused)
    wish: Demand | Verdict | None = None
    if not injected:
        wish = rule.asking.at_once(connection, place)
    if wish is None:
        wish = await rule.asking.demand(connection, place, injected)
    if wish is None:
        return Decision()
    if again and isinstance(wish, Demand):  # a message stands for itself
        decision = decision_of(await ledger.limiter.charge([wish]))
    else:
        decision = await ledger.charge([wish], ledger.limiter)
    return _judged(scope, decision)


def _judged(scope: Scope, decision: Decision) -> Decision:
    if not decision.allowed:
        _offer_handler(scope)
        raise RateLimited(decision)
    return decision


def method_of(scope: Scope) -> str:
    """The method as it is counted: HEAD is a GET, and made-up methods share one bucket."""
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    return COUNTED_AS.get(scope["method"], OTHER)


def route_of(scope: Scope) -> str:
    """The pattern of the route that serves this connection, prefixes and mounts included."""
    nested = scope.get("fastapi", {}).get("effective_route_context")
    route = nested or scope.get("route")
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        path = _name_of(scope.get("endpoint"))
    root: str = scope.get("root_path", "")
    if root == scope.get("app_root_path", root):
        return path
    # Below a mount. What the root path says may be the client's own words, so the pattern is
    # looked up among the routes of the app, and the endpoint stands for it where it is not found.
    look_up, *asked = scope.get(SERVED_BY) or (None,)
    found: Matched[AppRoute] | None = look_up(*asked) if look_up is not None else None
    endpoint = scope.get("endpoint")
    if found is not None and any(each is endpoint for each in found.policy.carriers):
        return found.pattern.text
    return _name_of(endpoint)


def _name_of(endpoint: object) -> str:
    return f"{getattr(endpoint, '__module__', '')}.{getattr(endpoint, '__qualname__', '')}"


def _offer_handler(scope: Scope) -> None:
    """Let Starlette turn `RateLimited` into our answer, unless the app has a handler for it.

    The handlers in the scope are the app's own table, so this happens once.
    """
    handlers = scope.get("starlette.exception_handlers")
    if handlers is not None:
        cast(dict[Any, Any], handlers[0]).setdefault(RateLimited, refusal.handle)


def signature(dependencies: Mapping[str, Any]) -> inspect.Signature:
    """What FastAPI is to pass to a rule: the connection, and what the rule itself depends on."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("connection", keyword, annotation=HTTPConnection)]
    parameters += [
        inspect.Parameter(name, keyword, default=depends, annotation=Any)
        for name, depends in dependencies.items()
    ]
    return inspect.Signature(parameters)


def decorated(rule: "RateLimit", endpoint: Any) -> Any:
    """An endpoint, function or method, sync or async, that is counted before it runs."""
    if not callable(endpoint) or inspect.isclass(endpoint):
        raise ConfigurationError(f"{rule!r} cannot decorate {endpoint!r}: decorate a function")
    if rule.dependencies:
        raise ConfigurationError(
            f"{rule!r} uses Depends(), which only FastAPI can resolve: write "
            "dependencies=[Depends(rule)] on the route"
        )
    is_async = bool(is_async_callable(endpoint))
    own = signature_of(endpoint)
    is_given = any(_is_connection(each.annotation) for each in own.parameters.values())

    @functools.wraps(endpoint)
    async def counted(*args: Any, **kwargs: Any) -> Any:
        injected = kwargs.pop(_INJECTED, None)
        await enforce(rule, _connection_among([injected, *args, *kwargs.values()]), {})
        if is_async:
            return await cast(Any, endpoint)(*args, **kwargs)
        return await run_in_threadpool(endpoint, *args, **kwargs)

    setattr(counted, MARK, (*getattr(endpoint, MARK, ()), rule))
    if not is_given:  # FastAPI passes a connection only to those who ask for it by type
        asked = inspect.Parameter(
            _INJECTED, inspect.Parameter.KEYWORD_ONLY, annotation=HTTPConnection
        )
        counted.__signature__ = _with_parameter(own, asked)  # type: ignore[attr-defined]
    return counted


def signature_of(endpoint: Callable[..., Any]) -> inspect.Signature:
    """The signature of an endpoint, its annotations resolved where they can be."""
    try:
        return inspect.signature(endpoint, eval_str=True)
    except NameError:  # a name that only type checkers import
        return inspect.signature(endpoint)


def _connection_among(arguments: list[Any]) -> HTTPConnection:
    for argument in arguments:
        if isinstance(argument, HTTPConnection):
            return cast(HTTPConnection, argument)
    raise ConfigurationError("a limited endpoint was called without a request or websocket")


def _is_connection(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, HTTPConnection)


def _with_parameter(own: inspect.Signature, asked: inspect.Parameter) -> inspect.Signature:
    parameters = list(own.parameters.values())
    if asked.name in own.parameters:  # decorated twice
        return own
    at = len(parameters)
    if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
        at -= 1
    return own.replace(parameters=[*parameters[:at], asked, *parameters[at:]])
