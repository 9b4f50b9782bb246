"""CacheMiddleware: finds the policy of a request and lets the request take its way.

    request ── policy? ── admitted? ── key ── look up ── decide ─┬─ hit ───────── replay
                 │            │                                  ├─ stale ─────── replay, refresh
                 no           no                                 └─ miss ──────── fill, with others
                 │            │
                 app      app, with the reason in Cache-Status

What happens from the key on is one request's `Exchange`. Here is what all requests share.
"""

import logging
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.asgi import head_of, host_of, response_head, route_path
from cachemw.caching.changes import Changes
from cachemw.caching.exchange import Exchange
from cachemw.caching.flights import Flights
from cachemw.caching.invalidation import SAFE_METHODS
from cachemw.caching.keeper import Keeper
from cachemw.caching.marks import PurgesMark, policy_on, purges_on
from cachemw.caching.placement import faults, warnings
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.rules import admit
from cachemw.caching.shelf import Shelf
from cachemw.caching.status import Forward
from cachemw.errors import ConfigurationError
from cachemw.routes import Matched, Routes, RouteTable
from cachemw.stores.base import Store

logger = logging.getLogger("cachemw.cache")

DRAIN = 5.0  # seconds that refreshes have to end when the app shuts down


class CacheMiddleware:
    """An RFC 9111 shared cache in front of an ASGI app.

    `routes` maps Starlette paths, with methods in front if need be, to policies; the first match
    wins, marks on the app's own routes come before, and `default` applies where nothing matches.
    Nothing is cached unless a policy says so.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        routes: Mapping[str, CachePolicy] | None = None,
        default: CachePolicy | None = None,
    ) -> None:
        self.app = app
        self.store = store
        table: Mapping[str, CachePolicy] = routes or {}
        self.policies = RouteTable(Routes.of(table, default), policy_on)
        self.purges = RouteTable[tuple[PurgesMark, ...]](Routes(), purges_on)
        for pattern, policy in self.policies.routes.entries:
            policy.tag_templates.demand_path(pattern.convertors, f"route {pattern.text!r}")
        self.shelf = Shelf(store)
        self.keeper = Keeper(store)
        self.flights = Flights()
        self.changes = Changes(self.keeper, self.policies, self.purges)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] not in SAFE_METHODS:
            await self._change(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        matched = self._policy(scope, scope["method"])
        if matched is None:
            await self.app(scope, receive, send)
            return
        request = head_of(scope)
        exchange = Exchange(
            self.app,
            self.store,
            self.shelf,
            self.keeper,
            self.flights,
            scope,
            receive,
            send,
            request,
            matched,
        )
        refused = admit(request, matched.policy)
        if refused is None and "session" in scope and matched.policy.credentials == "bypass":
            refused = Reason.SESSION
        if refused is None:
            await exchange.run()
        else:
            forward = Forward.METHOD if refused is Reason.METHOD else Forward.BYPASS
            await exchange.bypass(refused, forward)

    def _policy(self, scope: Scope, method: str) -> Matched[CachePolicy] | None:
        return self.policies.match(scope.get("app"), method, route_path(scope), host_of(scope))

    # --- requests that change something

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on an unsafe request, and purge what its success makes obsolete."""
        matched = self._policy(scope, scope["method"])
        if matched is not None and scope["method"] in matched.policy.methods:
            await self._answer(scope, receive, send)  # a POST that is cached as if it were safe
            return
        marks = self.changes.marks_of(scope)

        async def purging(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self.changes.purge_after(scope, response_head(message), marks)
            await send(message)

        await self.app(scope, receive, purging)

    # --- the life of the app

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watching() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.store.open()
            elif message["type"] == "lifespan.shutdown":
                await self.flights.drain(DRAIN)
            return message

        try:
            self._check(scope.get("app"))
        except ConfigurationError as error:
            # Servers take an exception alone for an app without a lifespan, and start it.
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        try:
            await self.app(scope, watching, send)
        finally:
            await self.store.aclose()

    def _check(self, app: object) -> None:
        """Read the app's marks, and see whether the cache stands in the right place."""
        self.policies.resolve(app)
        self.purges.resolve(app)
        middleware = getattr(app, "user_middleware", ())
        found = faults(middleware, CacheMiddleware)
        if found:
            raise ConfigurationError("; ".join(found))
        for warning in warnings(middleware, CacheMiddleware):
            logger.warning(warning)
