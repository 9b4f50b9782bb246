"""Limits, cache and sessions around one app: what each leaves to the others."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cachemw import CacheMiddleware, CachePolicy, MemoryStore, RateLimit, RateLimitMiddleware
from cachemw.ratelimit.limiter import Limiter
from cachemw.testing import Client, FakeClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("place", ["on the route", "within the cache"])
async def test_a_refresh_is_charged_to_nobody(place: str) -> None:
    """It is made ahead of time and on nobody's behalf: there is no client to charge."""
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    limiter, rule = Limiter(store, clock=clock), RateLimit("1/day", name="page")

    async def page(request: Request) -> Response:
        return PlainTextResponse(str(clock()))

    app: Any = Starlette(routes=[Route("/", rule(page) if place == "on the route" else page)])
    if place == "within the cache":
        app = RateLimitMiddleware(app, store=limiter, default=rule)
    policy = CachePolicy(ttl="1m", stale_while_revalidate="1h", jitter=0)
    cache = CacheMiddleware(app, store=store, routes={"/": policy})
    client = Client(RateLimitMiddleware(cache, store=limiter))

    bodies = []
    for _ in range(3):
        response = await client.get("/")
        bodies.append((response.status, response.cache, response.body))
        await cache.engine.flights.drain(5)
        clock.advance("2m")

    assert [status for status, _, _ in bodies] == [200, 200, 200]
    assert [result for _, result, _ in bodies] == ["miss", "stale", "stale"]
    assert bodies[2][2] != bodies[1][2], "there was a refresh, and it was let in"
    assert limiter.counts == {("page", "allowed"): 1}
