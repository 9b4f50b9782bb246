"""CacheMiddleware: finds the policy of a request and lets the request take its way.

    request ── policy? ── admitted? ── key ── look up ── decide ─┬─ hit ───────── replay
                 │            │                                  ├─ stale ─────── replay, refresh
                 no           no                                 └─ miss ──────── fill, with others
                 │            │
                 app      app, with the reason in Cache-Status

A page that was answered before takes a short way, which gives the same bytes (`pages.py`). What
happens from the key on is `exchange.py`; requests that change something are `changes.py`.
"""

import logging
from collections.abc import Awaitable, Mapping
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.ahead import AHEAD, Question, asker_of, leave, let_go, taken
from cachemw.asgi import (
    addressed,
    head_of,
    response_head,
    route_path,
)
from cachemw.caching.cache import DRAIN, Cache
from cachemw.caching.cache_control import NOTHING, CacheControl, requested
from cachemw.caching.call import Call, Engine
from cachemw.caching.changes import Changes
from cachemw.caching.credentials import is_known_from_outside
from cachemw.caching.endings import attend
from cachemw.caching.exchange import exchange
from cachemw.caching.invalidation import SAFE_METHODS
from cachemw.caching.look import Look
from cachemw.caching.marks import CONTEXT, Notes, PurgesMark, policy_on, purges_on
from cachemw.caching.pages import Page
from cachemw.caching.placement import faults, strays, warnings
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.rules import admit
from cachemw.caching.status import Forward
from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.messages import Headers, ResponseHead
from cachemw.routes import Matched, Routes, app_routes
from cachemw.routetable import RouteTable
from cachemw.scopekeys import RESULT
from cachemw.stores.base import Store
from cachemw.stores.near import NearStore, with_near
from cachemw.telemetry.bulletin import Publisher
from cachemw.telemetry.events import Exchange

logger = logging.getLogger("cachemw.cache")

_LAST_WORDS = frozenset(
    {"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"}
)


class CacheMiddleware:
    """An RFC 9111 shared cache in front of an ASGI app.

    `routes` maps Starlette paths, with methods in front if need be, to policies; the first match
    wins, marks on the app's own routes come before, and `default` applies where nothing matches.
    Nothing is cached unless a policy says so. `near_cache` is how much may be kept in the process.
    With a `region`, other regions can hear of the purges that happen here.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        routes: Mapping[str, CachePolicy] | None = None,
        default: CachePolicy | None = None,
        near_cache: int | str | None = None,
        data: Cache | None = None,
        region: str | None = None,
    ) -> None:
        attend(app)
        self.app = app
        self._ask_within = asker_of(app)
        self.store = store = with_near(store, near_cache)
        table: Mapping[str, CachePolicy] = routes or {}
        self.policies = RouteTable(Routes[CachePolicy].of(table, default), policy_on)
        self.purges = RouteTable[tuple[PurgesMark, ...]](Routes(), purges_on)
        for pattern, policy in self.policies.routes.entries:
            policy.tag_templates.demand_path(pattern.convertors, f"route {pattern.text!r}")
        self._data = data
        self._publisher = Publisher(store)
        self.engine = Engine(app, store, region)
        self._far = store.store if isinstance(store, NearStore) else store
        self._now = self._far.now
        self.tally = store.tally
        self.changes = Changes(store, self.engine.keeper, self.policies, self.purges)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        asked = taken(scope, self) if AHEAD in scope else None
        page, is_plain = self._page(scope) if asked is None else asked.state
        if page is None:
            await self._route(scope, receive, send, None)
            return
        # The short way: the one trip, and the answer (`pages.py`).
        near = self.store if page.is_near else self._far
        try:
            if asked is not None:
                values = await asked.answer
            elif near is self._far:
                values = await page.read()
            else:
                values = near.at_hand(page.keys) or await near.get_many(page.keys)
        except StoreUnavailable as error:
            look = Look(page.keys, error, is_near=page.is_near)
            await self._route(scope, receive, send, look)
            return
        now = self._now()
        served = page.answer(values, now, None if is_plain else head_of(scope))
        if served is None:
            look = Look(page.keys, values, is_near=page.is_near)
            await self._route(scope, receive, send, look)
            return
        age, (status, headers, body) = served
        scope[RESULT], path, route, took = "hit", page.path, page.route, page.took
        seconds, size = perf_counter() - began, len(body)
        self.tally.exchanged(
            Exchange(now, page.method, path, route, "hit", "", status, age, seconds, size, took)
        )
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def ask_ahead(self, scope: Scope) -> None:
        """Send the read of a page met before. Where no policy applies, pass the call on."""
        if scope["type"] != "http":
            return
        page, is_plain = self._page(scope)
        if page is not None:
            if not page.is_near or self.store is self._far:
                leave(scope, Question(self, (page, is_plain), page.read()))
            return
        app, path, headers = scope.get("app"), route_path(scope), scope["headers"]
        if self._ask_within and self.policies.match(app, scope["method"], path, headers) is None:
            self._ask_within(scope)

    def _page(self, scope: Scope) -> tuple[Page | None, bool]:
        """The page that a request is for if it was answered before, and whether all of it is."""
        pages = self.engine.pages
        if scope["path"] not in pages.paths or CONTEXT in scope:
            return None, False
        if not self.policies.is_current(app := scope.get("app")):
            self.policies.resolve(app)
        if pages.edition != self.policies.edition:
            pages.keep_to(self.policies.edition)
        page, is_plain = pages.of(*addressed(scope))
        if page is not None and page.knows_nobody:
            is_known = "session" in scope or is_known_from_outside(scope)
            return None if is_known else page, is_plain
        return page, is_plain

    def _route(
        self, scope: Scope, receive: Receive, send: Send, look: Look | None
    ) -> Awaitable[None]:
        """The long way. No coroutine of its own: most requests that come here only pass by."""
        method: str = scope["method"]
        app, path, headers = scope.get("app"), route_path(scope), scope["headers"]
        matched = self.policies.match(app, method, path, headers)
        if method not in SAFE_METHODS and (matched is None or method not in matched.policy.methods):
            return self._change(scope, receive, send)
        if matched is None:
            self.tally.counts.unruled += 1
            return self.app(scope, receive, send)
        if not matched.policy.methods:  # switched off here: neither cached nor counted
            return self.app(scope, receive, send)
        return self._answer(scope, receive, send, matched, look)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        matched: Matched[CachePolicy],
        look: Look | None,
    ) -> None:
        let_go(scope)  # what was asked for one client has no place in a request for all
        outer: Notes | None = scope.get(CONTEXT)
        if outer is not None:
            # A cache further out is making an entry. What handlers say from here on is said to us,
            # so that it knows neither the tags nor what is one client's own: we keep, and it not.
            outer.skip = "kept further in"
        began, request, policy = perf_counter(), head_of(scope), matched.policy
        wishes = wishes_of(request.headers, policy)
        route = matched.pattern.text
        call = Call(self.engine, scope, receive, send, request, policy, wishes, route, began)
        is_known, has_session = is_known_from_outside(scope), "session" in scope
        refused = admit(request, policy, is_known=is_known, has_session=has_session)
        if refused is None:
            await exchange(call, matched, look)
        else:
            forward = Forward.METHOD if refused is Reason.METHOD else Forward.BYPASS
            await call.bypass(refused, forward)

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on an unsafe request, and purge what its success makes obsolete.

        It is purged twice: before the client hears of its success, since its next read must be
        fresh, and when the app has returned, since handlers may commit after they have answered, as
        FastAPI's dependencies with `yield` do.
        """
        marks = self.changes.marks_of(scope)
        asked = dict(scope)  # as it came: mounts and mounted apps write into theirs
        answered: ResponseHead | None = None

        async def purging(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                message = {**message, "headers": list(message.get("headers", ()))}
                answered = response_head(message)
                await self.changes.purge_after(asked, answered, marks)
            await send(message)

        try:
            await self.app(scope, receive, purging)
        finally:
            if answered is not None:
                await self.changes.purge_after(asked, answered, marks, again=True)

    # --- the life of the app

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = has_answered = False
        # What the app will put there, its handlers find in the state of every request.
        self.engine.app_state = scope.get("state", {})

        async def watching() -> Message:
            nonlocal has_begun
            message = await receive()
            if message["type"] == "lifespan.startup":
                has_begun = True
                await self.store.open()
                self._publisher.start()
            elif message["type"] == "lifespan.shutdown":
                # Before the app lets go of what its handlers need.
                await self._drain()
            return message

        async def close() -> None:
            nonlocal has_begun
            if has_begun:
                has_begun = False
                await self._drain()
                await self._publisher.aclose()
                await self.store.aclose()

        async def answering(message: Message) -> None:
            nonlocal has_answered
            has_answered = True
            if message["type"] in _LAST_WORDS:
                await close()  # before the server hears it: then it ends, and us with it
            await send(message)

        try:
            self._check(scope.get("app"))
        except ConfigurationError as error:
            # Servers take an exception alone for an app without a lifespan, and start it.
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        try:
            await self.app(scope, watching, answering)
        except Exception:
            # As just said: such an app goes on to be served, and needs its store.
            has_begun = has_begun and has_answered
            raise
        finally:
            # An app that knows nothing of a lifespan leaves before its first request.
            await close()

    async def _drain(self) -> None:
        """Let what is under way come to its end."""
        await self.engine.flights.drain(DRAIN)
        self.engine.keeper.owed.forget()
        if self._data is not None:
            await self._data.aclose()

    def _check(self, app: object) -> None:
        """Read the app's marks, and see whether the cache stands in the right place."""
        self.policies.resolve(app)
        self.purges.resolve(app)
        middleware = getattr(app, "user_middleware", ())
        found = faults(middleware, CacheMiddleware)
        if found:
            raise ConfigurationError("; ".join(found))
        own = [pattern for pattern, _ in self.policies.routes.entries]
        there = [route.pattern for route in app_routes(app)]
        for warning in (*warnings(middleware, CacheMiddleware), *strays(own, there)):
            logger.warning(warning)


def wishes_of(headers: Headers, policy: CachePolicy) -> CacheControl:
    """What the client asks of the cache, as far as the policy lets it."""
    asked = requested(headers)
    if asked is NOTHING or policy.obey_client:
        return asked
    return CacheControl(only_if_cached=True) if asked.only_if_cached else NOTHING
