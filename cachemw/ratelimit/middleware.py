"""`RateLimitMiddleware`: rules by route, and the fields about limits on every answer.

Wants to be the outermost middleware, so that refusals are cheap and no cache keeps somebody's
counters. It decides nothing itself: rules make demands, the limiter charges them, `refusal.py`
words the answer. What belongs to one request lives in a `_Responder`.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias, cast

from starlette._utils import get_route_path
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.ahead import asker_of, let_go
from cachemw.clientip import TrustedProxies
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.messages import Header, first_of, without
from cachemw.ratelimit.counting import numbers_of
from cachemw.ratelimit.failures import FIELDS, dress_own_handler, has_own_handler
from cachemw.ratelimit.guard import SERVED_BY, method_of
from cachemw.ratelimit.headers import EXPOSED, LEGACY, OURS, legacy_fields
from cachemw.ratelimit.identity import NO_SESSION_YET, PROXIES, Subject, is_nobodys
from cachemw.ratelimit.known import Known
from cachemw.ratelimit.ledger import LEDGER, Ledger
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
from cachemw.ratelimit.refusal import RateLimited, close_of, refuse
from cachemw.ratelimit.rule import RateLimit
from cachemw.ratelimit.surroundings import cors_within, is_outermost, is_preflight
from cachemw.ratelimit.toll import Toll
from cachemw.ratelimit.verdicts import Answered, Decision, Demand, Verdict
from cachemw.routes import AppRoute, Matched, Routes, RouteTable, app_routes
from cachemw.scopekeys import RESULT
from cachemw.scripts import Reply
from cachemw.stores.base import Store

Rules: TypeAlias = RateLimit | Iterable[RateLimit]

_REPLACED = OURS | LEGACY
_BEGINNINGS = {
    "http.response.start": 200,
    "websocket.http.response.start": 403,
    "websocket.accept": 101,
    "websocket.close": 403,
}


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
        self._tolls = {rules: Known(rules) for rules in sets}
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
        if kind == "http" or kind == "websocket":
            await _Responder(self, scope, receive, send).respond()
            return
        if kind == "lifespan":
            self._check_routes(scope.get("app"))
        await self.app(scope, receive, send)

    def rules_for(self, scope: Scope, path: str) -> tuple[tuple[RateLimit, ...], str]:
        """The rules that a connection comes under, and the pattern by which."""
        method = "GET" if scope["type"] == "websocket" else scope["method"]
        found = self.routes.match(method, path)
        if found is None and method == "HEAD":
            found = self.routes.match("GET", path)
        rules, pattern = (
            (self.default, "*") if found is None else (found.policy, found.pattern.text)
        )
        if rules and is_nobodys(scope):
            return (), pattern
        if is_preflight(scope) and cors_within(scope.get("app"), RateLimitMiddleware):
            return (), pattern
        return rules, pattern

    def toll(self, scope: Scope, rules: tuple[RateLimit, ...], pattern: str) -> Toll | None:
        """What all of these rules charge, where they want the same again of this client."""
        return self._tolls[rules].of(scope, pattern) if scope["type"] == "http" else None

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
        self, app: object, method: str, path: str, headers: Iterable[Header]
    ) -> Matched[AppRoute] | None:
        """The route of the app that takes a request as it stood here."""
        return self._served.match(app, method, path, first_of(headers, b"host") or b"")

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


class _Responder:
    """One connection: its charges, and what is added to its answer."""

    __slots__ = (
        *("_send", "app", "has_started", "is_outermost", "ledger", "owner"),
        *("path", "receive", "scope"),
    )

    def __init__(
        self, owner: RateLimitMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.owner = owner
        self.scope = scope
        # As they came: mounts and mounted apps write into the scope.
        self.app = scope.get("app")
        self.path = get_route_path(scope)
        self.receive = receive
        self._send = send
        self.has_started = False
        outer: Ledger | None = scope.get(LEDGER)
        self.is_outermost = outer is None
        self.ledger = outer or Ledger(owner.limiter)

    async def respond(self) -> None:
        owner, scope, path, ledger = self.owner, self.scope, self.path, self.ledger
        is_http = scope["type"] == "http"
        if self.is_outermost:
            scope[LEDGER] = ledger
            scope.setdefault(PROXIES, owner.trusted)
            if is_http:
                scope[SERVED_BY] = partial(
                    owner.served_by, self.app, scope["method"], path, scope["headers"]
                )
        try:
            rules, pattern = owner.rules_for(scope, path)
            decision = await self._charge(rules, pattern) if rules else None
            if decision is not None and not decision.allowed:
                await self._refuse(RateLimited(decision))
            else:
                receive = self.receive if is_http else self._receive_for_app()
                await owner.app(scope, receive, self.send)
        except RateLimited as error:  # raised where no exception middleware is
            if self.has_started:
                raise
            await self._refuse(error)
        except Exception as error:
            await self._answer_failure(error)
            raise
        finally:
            let_go(scope)
            if self.is_outermost:
                await ledger.close()

    async def _charge(self, rules: tuple[RateLimit, ...], pattern: str) -> Decision | None:
        """Charge what the rules want. None where that was done the short way (`toll.py`)."""
        owner, scope, ledger = self.owner, self.scope, self.ledger
        limiter, ask_within = owner.limiter, owner.ask_within
        toll = owner.toll(scope, rules, pattern) if self.is_outermost else None
        sent = None if toll is None else limiter.begin(toll)
        if toll is None or sent is None:
            wishes = await owner.wishes(scope, rules, pattern)
            return await ledger.charge(wishes, limiter, ask_within and partial(ask_within, scope))
        if ask_within is not None:
            ask_within(scope)
        try:
            reply = await sent
        except StoreUnavailable as error:
            return await ledger.charge(toll.demands, limiter, step=_failed(error))
        numbers = numbers_of(reply)
        if numbers[0]:
            ledger.begin(toll, numbers)
            return None
        return await ledger.charge(toll.demands, limiter, step=_said(reply))

    def send(self, message: Message) -> Awaitable[None]:
        if not self.has_started and message["type"] in _BEGINNINGS:
            self.has_started = True
            if self.is_outermost:
                self._dress(message)
        return self._send(message)

    def _dress(self, message: Message) -> None:
        status = message.get("status") or _BEGINNINGS[message["type"]]
        headers: Sequence[Header] = message.get("headers") or ()
        fields = self._settle(status, headers)
        if fields and message["type"] != "websocket.close":
            names = [name for name, _ in headers]
            if b"access-control-allow-origin" in names:
                fields.append((b"access-control-expose-headers", EXPOSED))
            kept = headers if _REPLACED.isdisjoint(names) else without(headers, _REPLACED)
            message["headers"] = [*kept, *fields]

    def _settle(self, status: int, headers: Iterable[Header]) -> list[Header]:
        """The answer is known: settle what was tentative. The fields that say where all stands."""
        ledger = self.ledger
        if ledger.is_tentative:
            ledger.settle(Answered(status, tuple(headers), self.scope.get(RESULT)))
        fields = ledger.fields
        if self.owner.legacy_headers:
            now = self.owner.limiter.store.now() // 1_000_000
            fields += legacy_fields(ledger.standings, now)
        return fields

    async def _refuse(self, error: RateLimited) -> None:
        app = self.app
        handlers = getattr(app, "exception_handlers", {})

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await refuse(scope, receive, send, error, handlers)

        # A page of another origin may read a refusal only with the fields that the app's own
        # CORS middleware, which stands further in, would have added.
        cors = cors_within(app, RateLimitMiddleware)
        dressed = cors(answer) if cors else answer
        await dressed(self.scope, self.receive, self.send)

    async def _answer_failure(self, error: Exception) -> None:
        """See to it that the 500 has our fields, where Starlette would send it past us.

        An app's own handler adds them itself. Otherwise we send what Starlette would send, unless
        there is middleware outside of us that could want to answer.
        """
        app, scope = self.app, self.scope
        if self.has_started or scope["type"] != "http":
            return
        if not has_own_handler(app) and is_outermost(app, RateLimitMiddleware):

            async def fail(scope: Scope, receive: Receive, send: Send) -> None:
                raise error

            answer = ServerErrorMiddleware(fail, debug=getattr(app, "debug", False))
            await answer(scope, self.receive, self.send)
        if self.is_outermost:
            scope[FIELDS] = self._settle(500, ())
            dress_own_handler(app)

    def _receive_for_app(self) -> Receive:
        return self._receive_counted if self.owner.messages.entries else self.receive

    async def _receive_counted(self) -> Message:
        message = await self.receive()
        if message["type"] != "websocket.receive":
            return message
        found = self.owner.messages.match("GET", self.path)
        if found is None:
            return message
        place = f"MESSAGE {found.pattern.text}"
        wish = await found.policy.asking.demand(HTTPConnection(self.scope), place, {})
        if wish is None:
            return message
        # Each message stands for itself: a ledger would count the rule once a connection.
        decision = await Ledger(self.owner.limiter).charge([wish], self.owner.limiter)
        if decision.allowed:
            return message
        code, reason = close_of(decision)
        await self.send({"type": "websocket.close", "code": code, "reason": reason})
        return {"type": "websocket.disconnect", "code": code, "reason": reason}


async def _said(reply: Reply) -> Reply:
    return reply


async def _failed(error: StoreUnavailable) -> Reply:
    raise error


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
