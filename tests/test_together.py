"""Limits, cache and sessions around one app: what each leaves to the others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cachemw import (
    Cache,
    CacheMiddleware,
    CachePolicy,
    MemoryStore,
    RateLimit,
    RateLimitMiddleware,
    Sessions,
    install,
    open_store,
)
from cachemw.ratelimit.limiter import Limiter
from cachemw.stores.base import Store
from cachemw.testing import Client, FakeClock
from tests.servers import Server

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


# --- one trip


async def hello(request: Request) -> Response:
    request.session["count"] = request.session.get("count", 0) + 1
    return PlainTextResponse("hello")


async def who(request: Request) -> Response:
    return PlainTextResponse(str(request.session.get("count")))


async def news(request: Request) -> Response:
    return PlainTextResponse("news")


def app_of(store: Store, *limits: RateLimit) -> Starlette:
    app = Starlette(routes=[Route("/hello", hello), Route("/who", who), Route("/news", news)])
    install(
        app,
        store=store,
        cache={"/news": CachePolicy(ttl="1h", credentials="strip")},
        limits={"/{rest:path}": limits or RateLimit("100/minute")},
        sessions=Sessions(secure=False),
    )
    return app


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Store]:
    store = open_store(server.url + "?deadline=5s")
    await store.open()
    yield store
    await store.aclose()


async def visitor(app: Any) -> dict[str, str]:
    """The cookie of somebody who has a session."""
    cookie = (await Client(app).get("/hello")).header("set-cookie")
    assert cookie is not None
    return {"cookie": cookie.partition(";")[0]}


def asked(server: Server) -> dict[str, int]:
    """Reads of its socket, and commands, as the server counts them."""
    stats, commands = server.info("stats"), server.info("commandstats")
    calls = {
        name: int(commands.get(f"cmdstat_{name}", "calls=0").split(",")[0].removeprefix("calls="))
        for name in ("evalsha", "mget")
    }
    return {"reads": int(stats["total_reads_processed"]), **calls}


async def spent(server: Server, *requests: Any) -> dict[str, int]:
    before = asked(server)
    for request in requests:
        await request
    after = asked(server)
    return {name: after[name] - before[name] for name in after}


@pytest.mark.parametrize("path", ["/who", "/news"])
async def test_a_limit_and_what_stands_behind_it_are_one_trip(
    server: Server, store: Store, path: str
) -> None:
    app = app_of(store)
    cookie, client = await visitor(app), Client(app)
    first = [await client.get(path, headers=cookie) for _ in range(3)]
    looking = await spent(server)

    one_by_one = await spent(server, *(client.get(path, headers=cookie) for _ in range(10)))

    assert first[-1].body == (b"1" if path == "/who" else b"news")
    assert one_by_one["reads"] - looking["reads"] == 10
    assert one_by_one["evalsha"] == (20 if path == "/who" else 10)
    assert one_by_one["mget"] == (0 if path == "/who" else 10)


@pytest.mark.parametrize("path", ["/who", "/news"])
async def test_what_was_asked_ahead_is_used_by_nobody_who_is_refused(
    server: Server, store: Store, path: str
) -> None:
    app = app_of(store, RateLimit("5/minute"))
    cookie, client = await visitor(app), Client(app)
    answers = [await client.get(path, headers=cookie) for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 4 + [429]
    assert "cache-status" not in dict(answers[-1].headers)

    refused = await spent(server, *(client.get(path, headers=cookie) for _ in range(10)))

    assert (refused["evalsha"], refused["mget"]) == (0, 0)


async def test_nothing_is_asked_ahead_where_refusals_are_not_remembered(
    server: Server, store: Store
) -> None:
    app = app_of(store, RateLimit("2/minute", count_when=lambda answered: True))
    cookie, client = await visitor(app), Client(app)
    await client.get("/who", headers=cookie)
    assert (await client.get("/who", headers=cookie)).status == 429
    refused = await spent(server, *(client.get("/who", headers=cookie) for _ in range(10)))
    assert refused["evalsha"] == 10


async def test_a_visitor_gets_their_own_session_however_it_was_asked_for(store: Store) -> None:
    app = app_of(store)
    cookies = [await visitor(app) for _ in range(3)]
    for turn, cookie in enumerate(cookies):
        for _ in range(turn):
            await Client(app).get("/hello", headers=cookie)
    answers = await asyncio.gather(
        *(Client(app).get("/who", headers=cookie) for cookie in cookies * 5)
    )
    assert [answer.body for answer in answers] == [b"1", b"2", b"3"] * 5


class Lazy(MemoryStore):
    """A store of somebody's own, whose verbs begin when they are awaited."""

    async def run(self, *asked: Any) -> Any:
        return await super().run(*asked)

    async def get_many(self, keys: Any) -> Any:
        return await super().get_many(keys)


async def test_a_store_that_is_not_eager_is_not_left_waiting() -> None:
    app = app_of(Lazy(), RateLimit("3/minute"))
    cookie, client = await visitor(app), Client(app)
    statuses = [(await client.get("/who", headers=cookie)).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]


async def test_a_page_is_kept_that_was_made_from_a_value_of_its_own_tag(store: Store) -> None:
    """The value is made later and kept sooner, and the stamp that it brings does not outdate the
    page."""
    cache = Cache(store)

    @cache.memoize("1h", tags=["product:{id}"])
    async def price(id: str) -> float:
        return 24.0

    async def product(request: Request) -> Response:
        return PlainTextResponse(str(await price(request.path_params["id"])))

    app = Starlette(routes=[Route("/products/{id}", product)])
    install(
        app, store=store, cache={"/products/{id}": CachePolicy(ttl="5m", tags=["product:{id}"])}
    )
    client = Client(app)
    assert (await client.get("/products/3")).is_stored
    assert (await client.get("/products/3")).cache == "hit"
    await cache.purge(tags=["product:3"])
    assert (await client.get("/products/3")).detail == "purged"
