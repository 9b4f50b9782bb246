"""`RateLimitMiddleware`: rules by route, and the fields about limits on every answer.

Wants to be the outermost middleware, so that refusals are cheap and no cache keeps somebody's
counters. It decides nothing itself: rules make demands, the limiter charges them, and whatever is
not plainly let in is answered by a `Responder`.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from starlette._utils import get_route_path
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw.ahead import asker_of, let_go
from cachemw.clientip import TrustedProxies
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.messages import Header
from cachemw.ratelimit.guard import SERVED_BY, method_of
from cachemw.ratelimit.identity import NO_SESSION_YET, PROXIES, Subject, is_nobodys
from cachemw.ratelimit.known import NOTHING, Known
from cachemw.ratelimit.ledger import LEDGER, Ledger, Paid
from cachemw.ratelimit.limiter import Limiter
from cachemw.ratelimit.marks import (
    demand_distinct_meanings,
    demand_distinct_names,
    rules_at,
    rules_on,
    rules_on_sockets,
)
from cachemw.ratelimit.openapi import document
from cachemw.ratelimit.options import knows_its_options
from cachemw.ratelimit.passage import Passage
from cachemw.ratelimit.responder import Responder
from cachemw.ratelimit.rule import RateLimit
from cachemw.ratelimit.surroundings import cors_within, is_outermost, is_preflight
from cachemw.ratelimit.toll import Toll
from cachemw.ratelimit.verdicts import Demand, Verdict
from cachemw.routes import AppRoute, Matched, Routes, app_routes
from cachemw.routetable import RouteTable
from cachemw.scripts import Reply
from cachemw.stores.base import Done, Store

Rules: TypeAlias = RateLimit | Iterable[RateLimit]


class RateLimitMiddleware:
    """Limits by route: `routes={"POST /login": RateLimit("5/minute")}`; the first match wins.

    `default` applies where no pattern matches, `messages` to what websocket clients send after
    they are connected. `store` may be a `Limiter` that is shared with something else.
    """

    @knows_its_options
    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store | Limiter,
        routes: Mapping[str, Rules] | None = None,
        default: Rules | None = None,
        messages: Mapping[str, RateLimit] | None = None,
        trusted_proxies: Iterable[str] = (),
        workers: int | None = None,
        legacy_headers: bool = False,
    ) -> None:
        if isinstance(store, Limiter) and workers is not None:
            raise ConfigurationError("workers= belongs to the Limiter: Limiter(store, workers=...)")
        self.app = app
        self.ask_within = asker_of(app)
        self.limiter = store if isinstance(store, Limiter) else Limiter(store, workers=workers)
        self.routes = Routes[tuple[RateLimit, ...]].of(
            {path: _as_rules(path, it) for path, it in (routes or {}).items()}
        )
        self.default = () if default is None else _as_rules("default", default)
        self.messages = Routes[RateLimit].of(messages or {})
        self.trusted = TrustedProxies.parse(trusted_proxies)
        self.legacy_headers = legacy_headers
        self._served = RouteTable(Routes[AppRoute](), _with_endpoint)
        sets = [*(rules for _, rules in self.routes.entries), self.default]
        trusted = bool(self.trusted)
        self._known = Routes(
            (pattern, Known(rules, pattern.text, by_peer=not trusted))
            for pattern, rules in self.routes.entries
        )
        self._otherwise = Known(self.default, "*", by_peer=not trusted)
        self.toll = self._toll_by_route if self._known.entries else self._otherwise.of
        """What the rules charge, where they want the same again of this client."""
        self.rules = [rule for rules in sets for rule in rules]
        self.rules += [rule for _, rule in self.messages.entries]
        demand_distinct_names(self.rules)
        for rules in sets:
            demand_distinct_meanings(rules)
        for pattern, rule in self.messages.entries:
            _demand_final(pattern.text, rule)
        for rule in self.rules:
            _demand_self_contained(rule)
            rule.bind(self.limiter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            self._check_routes(scope.get("app"))
        if kind != "http" and kind != "websocket":
            await self.app(scope, receive, send)
            return
        app, limiter, ask_within = scope.get("app"), self.limiter, self.ask_within
        scope.setdefault(PROXIES, self.trusted)
        toll = self.toll(scope) if kind == "http" and LEDGER not in scope else None
        sent = None if toll is None else limiter.begin(toll)
        if toll is None or (sent is None and toll is not NOTHING):
            await Responder(self, scope, receive, send, app).respond()
            return

        # The short way (`toll.py`): the one trip, the app, and two fields on its answer.
        paid: Paid | None = None
        if sent is not None:
            if ask_within is not None:
                ask_within(scope)
            step: Awaitable[Reply] | None = None
            try:
                reply = await sent
                numbers = toll.numbers(reply)
                if numbers is None:
                    step = Done(reply)
                else:
                    paid = toll, numbers, limiter.passed(toll)
            except StoreUnavailable as error:
                step = Done(failure=error)
            except BaseException:  # the client has left
                let_go(scope)
                raise
            if step is not None:
                await Responder(self, scope, receive, send, app).respond(toll, step)
                return
        ledger = scope[LEDGER] = Ledger(limiter, paid)
        method, path, root = scope["method"], scope["path"], scope.get("root_path", "")
        scope[SERVED_BY] = self.served_by, app, method, path, root, scope["headers"]
        passage = Passage(self, scope, receive, send, app, ledger)
        try:
            await self.app(scope, receive, passage.send)
        except Exception as error:
            if not await passage.ends_with(error):
                raise
        finally:
            if ask_within is not None:
                let_go(scope)
            if ledger.corrections:
                await ledger.close()

    def _toll_by_route(self, scope: Scope) -> Toll | None:
        path = get_route_path(scope) if scope.get("root_path") else scope["path"]
        found = self._known.match(scope["method"], path)
        return (self._otherwise if found is None else found.policy).of(scope)

    def rules_for(self, scope: Scope, path: str) -> tuple[tuple[RateLimit, ...], str]:
        """The rules that a connection comes under, and the pattern by which."""
        method = "GET" if scope["type"] == "websocket" else scope["method"]
        found = self.routes.match(method, path)
        rules, pattern = (
            (self.default, "*") if found is None else (found.policy, found.pattern.text)
        )
        if rules and is_nobodys(scope):
            return (), pattern
        if is_preflight(scope) and cors_within(scope.get("app"), RateLimitMiddleware):
            return (), pattern
        return rules, pattern

    async def wishes(
        self, scope: Scope, rules: Iterable[RateLimit], pattern: str
    ) -> list[Demand | Verdict]:
        """What the rules want to charge."""
        place = f"{method_of(scope)} {pattern}"
        connection = HTTPConnection(scope)
        wishes: list[Demand | Verdict] = []
        for rule in rules:
            wish: Demand | Verdict | None = rule.asking.at_once(connection, place)
            if wish is None:
                wish = await rule.asking.demand(connection, place, {})
            if wish is not None:
                wishes.append(wish)
        return wishes

    def served_by(
        self, app: object, method: str, path: str, root: str, headers: Sequence[Header]
    ) -> Matched[AppRoute] | None:
        """The route of the app that takes a request as it stood here."""
        path = get_route_path({"path": path, "root_path": root})
        return self._served.match(app, method, path, headers)

    def _check_routes(self, app: object) -> None:
        if is_outermost(app, RateLimitMiddleware):
            for rule in self.rules:
                if isinstance(rule.by, Subject):
                    raise ConfigurationError(f"{rule!r}: {NO_SESSION_YET}")
        found = list(rules_on_sockets(getattr(app, "routes", ())))
        for rules in found:
            demand_distinct_meanings(rules)
        for route in app_routes(app):
            found.append(list(rules_on(route)))
            demand_distinct_meanings([*rules_at(route.pattern, self.routes), *found[-1]])
        on_routes = [rule for rules in found for rule in rules]
        demand_distinct_names([*self.rules, *on_routes])
        for rule in on_routes:
            rule.bind(self.limiter)
        document(app, self.routes, self.default)


def _with_endpoint(route: AppRoute) -> AppRoute | None:
    return None if route.endpoint is None else route


def _as_rules(where: str, given: object) -> tuple[RateLimit, ...]:
    several: list[object] = [given]
    if isinstance(given, Iterable) and not isinstance(given, str):
        several = list(cast(Iterable[object], given))
    rules = tuple(rule for rule in several if isinstance(rule, RateLimit))
    if len(rules) < len(several) or not rules:
        wrong = next((rule for rule in several if not isinstance(rule, RateLimit)), ())
        instead = repr(wrong) if isinstance(wrong, str) else "'100/minute'"
        raise ConfigurationError(f"{where!r}: {wrong!r} is no rule: write RateLimit({instead})")
    return rules


def _demand_final(where: str, rule: RateLimit) -> None:
    if rule.count_when is not None or rule.cost_on_hit is not None:
        raise ConfigurationError(
            f"messages={{{where!r}: {rule!r}}}: nothing answers a message, so neither count_when "
            "nor cost_on_hit can be known: leave them out"
        )


def _demand_self_contained(rule: RateLimit) -> None:
    if rule.dependencies:
        raise ConfigurationError(
            f"{rule!r} uses Depends(), which only a FastAPI route can resolve: put the rule into "
            "the route's dependencies=[Depends(rule)]"
        )
