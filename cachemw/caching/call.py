"""What one request brings, and what all requests share."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.caching import status
from cachemw.caching.cache_control import OUR_TARGET, CacheControl
from cachemw.caching.flights import Flights
from cachemw.caching.keeper import Keeper
from cachemw.caching.pages import Pages
from cachemw.caching.policy import CachePolicy
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.setting import Settings
from cachemw.caching.shelf import Shelf
from cachemw.caching.status import Forward
from cachemw.messages import Header, RequestHead
from cachemw.scopekeys import RESULT
from cachemw.stores.base import Store
from cachemw.telemetry.events import Exchange, Outcome, shortened

logger = logging.getLogger("cachemw.cache")


class Engine:
    """What all requests share."""

    def __init__(self, app: ASGIApp, store: Store, region: str | None = None) -> None:
        self.app = app
        self.store = store
        self.keeper = Keeper(store, region)
        self.shelf = Shelf(store, self.keeper.stamped)
        self.tally = store.tally
        self.flights = Flights(store.now, store.tally)
        self.settings = Settings()
        self.pages = Pages()
        self.app_state: Mapping[str, Any] = {}
        """What the app's lifespan has put into the state of every request."""
        self._complained_of: set[object] = set()

    def complain(self, rule: object, error: Exception) -> None:
        """Log what a rule of the operator's raised: once for each, and not for each response."""
        if rule not in self._complained_of:
            self._complained_of.add(rule)
            logger.warning(
                "a ttl function of a policy failed, and what it fails for is not stored: %r",
                rule,
                exc_info=error,
            )


@dataclass(slots=True, eq=False)
class Call:
    """One request that comes under a policy. `resource` is known once it has been identified."""

    engine: Engine
    scope: Scope
    receive: Receive
    send: Send
    request: RequestHead
    policy: CachePolicy
    asked: CacheControl
    route: str
    began: float
    body: bytes = b""
    resource: Resource = field(init=False)
    context: Context | None = field(init=False)
    """Where it was when it came, for who watches: an answer may begin in the midst of the app."""

    def __post_init__(self) -> None:
        self.context = copy_context() if self.engine.tally.watchers else None

    def tell(
        self,
        outcome: Outcome,
        reason: Reason | None,
        status: int,
        now: int,
        *,
        age: float = 0.0,
        size: int = 0,
        saved: float = 0.0,
        stored: bool = False,
        collapsed: bool = False,
    ) -> None:
        """Say what becomes of this request, once, before its answer begins."""
        self.scope[RESULT] = became = outcome.value
        method, path = self.request.method, shortened(self.scope["path"])
        why, seconds = reason or "", perf_counter() - self.began
        event = Exchange(
            *(now, method, path, self.route, became, why, status),
            *(age, seconds, size, saved, stored, collapsed),
        )
        if self.context is None:
            self.engine.tally.exchanged(event)
        else:
            self.context.run(self.engine.tally.exchanged, event)

    async def bypass(
        self,
        reason: Reason,
        forward: Forward = Forward.BYPASS,
        watch: Callable[[Message], object] | None = None,
    ) -> None:
        """Hand the request on as it came, and say why. `watch` sees the answer go by."""

        async def telling(message: Message) -> None:
            if watch is not None:
                watch(message)
            if message["type"] == "http.response.start":
                told = status.forwarded(forward, status=message["status"], detail=reason)
                message = {**message, "headers": with_status(message.get("headers", ()), told)}
                now = self.engine.store.now()
                self.tell(Outcome.BYPASS, reason, message["status"], now)
            await self.send(message)

        await self.engine.app(self.scope, self.receive, telling)

    async def is_let_in(self) -> bool:
        """Whether the policy's guard lets this client have a shared response."""
        guard = self.policy.guard
        return guard is None or await guard(HTTPConnection(self.scope))


def with_status(headers: Sequence[Header], told: Header) -> list[Header]:
    """The app's own headers for one client, without what was meant for this cache alone."""
    return [*(pair for pair in headers if pair[0].lower() != OUR_TARGET), told]
