"""The cache among the app's other middleware."""

import functools
import gzip

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware as CookieSessions
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from cachemw import (
    CacheContext,
    CacheMiddleware,
    CachePolicy,
    MemoryStore,
    SessionMiddleware,
    install,
)
from cachemw.caching.placement import faults, strays, warnings
from cachemw.routes import Pattern
from cachemw.testing import Client, ScriptedOrigin

CACHE = Middleware(CacheMiddleware, store=MemoryStore())
GZIP = Middleware(GZipMiddleware)


def test_sessions_outside_are_a_fault_whoever_made_them() -> None:
    for sessions in (
        Middleware(CookieSessions, secret_key="k"),
        Middleware(SessionMiddleware, store=MemoryStore()),
    ):
        (fault,) = faults([sessions, CACHE], CacheMiddleware)
        assert "add the cache after the sessions" in fault
        assert faults([CACHE, sessions], CacheMiddleware) == []


def test_an_encoder_inside_is_a_waste() -> None:
    (warning,) = warnings([CACHE, GZIP], CacheMiddleware)
    assert "GZipMiddleware is inside" in warning
    assert warnings([GZIP, CACHE], CacheMiddleware) == []


@pytest.mark.anyio
async def test_an_encoder_outside_works() -> None:
    """One entry serves both codings, and no client puts pieces of them together."""
    origin, page = ScriptedOrigin(), b"a page " * 200
    origin.answers(page, headers={"cache-control": "max-age=60"})
    cache = CacheMiddleware(origin, store=MemoryStore(), default=CachePolicy())
    client, coded = Client(GZipMiddleware(cache)), {"accept-encoding": "gzip"}
    first = await client.get("/", headers=coded)
    assert gzip.decompress(first.body) == page
    assert (await client.get("/")).body == page
    assert origin.called_once()
    tag = first.header("etag") or ""
    for headers in (coded, {}):
        known = await client.get("/", headers={**headers, "if-none-match": tag})
        assert known.status == 304
        resumed = {**headers, "range": "bytes=10-", "if-range": tag}
        assert (await client.get("/", headers=resumed)).status == 200


def test_cors_inside_is_a_waste_and_outside_is_right() -> None:
    cors = Middleware(CORSMiddleware, allow_origins=["*"])
    (warning,) = warnings([CACHE, cors], CacheMiddleware)
    assert "CORSMiddleware is inside" in warning and "add it after the cache" in warning
    assert warnings([cors, CACHE], CacheMiddleware) == []


def test_a_class_of_ones_own_is_what_it_is_derived_from() -> None:
    class Sessions(CookieSessions):
        pass

    class Zip(GZipMiddleware):
        pass

    class Cache(CacheMiddleware):
        pass

    own = Middleware(Cache, store=MemoryStore())
    (fault,) = faults([Middleware(Sessions, secret_key="k"), own], CacheMiddleware)
    assert fault.startswith("Sessions is outside")
    (warning,) = warnings([own, Middleware(Zip)], CacheMiddleware)
    assert warning.startswith("Zip is inside")


def test_middleware_may_be_made_by_a_function() -> None:
    def wrap(app: ASGIApp) -> ASGIApp:
        return app

    assert faults([Middleware(wrap), CACHE], CacheMiddleware) == []
    assert warnings([CACHE, Middleware(functools.partial(wrap))], CacheMiddleware) == []


def test_without_a_cache_there_is_nothing_to_say() -> None:
    assert faults([Middleware(CookieSessions, secret_key="k"), GZIP], CacheMiddleware) == []
    assert warnings([GZIP], CacheMiddleware) == []


def patterns(*texts: str) -> list[Pattern]:
    return [Pattern.parse(text) for text in texts]


def test_a_pattern_that_no_route_matches_names_the_nearest() -> None:
    routes = patterns("/items/{id:int}", "/news", "/files/{rest:path}")
    (told,) = strays(patterns("/item/{id}"), routes)
    assert told == (
        "no route of the app matches '/item/{id}', so its policy caches nothing: "
        "the nearest one is '/items/{id:int}'"
    )
    assert len(strays(patterns("/items", "/items/1/2", "GET /new"), routes)) == 3


def test_a_pattern_that_may_match_is_left_alone() -> None:
    routes = patterns("/items/{id:int}", "/news", "/files/{rest:path}")
    fine = ("/items/{any}", "/items/7", "/{name}", "/{all:path}", "/files/a/b")
    assert strays(patterns(*fine), routes) == []
    assert strays(patterns("/{a}/b/{c}"), patterns("/a/{b}/c")) == []
    assert strays(patterns("/x"), []) == []


@pytest.mark.anyio
async def test_of_two_caches_within_one_another_the_inner_one_keeps() -> None:
    """A mounted app may have its own, whose handlers tell it what to keep, and by which tags."""
    made = 0

    async def page(request: Request) -> Response:
        nonlocal made
        made += 1
        cache = CacheContext.of(request)
        cache.tag("page")
        if request.path_params["which"] == "own":
            cache.skip()
        return PlainTextResponse(str(made))

    store = MemoryStore()
    mounted = Starlette(routes=[Route("/{which}", page)])
    install(mounted, store=store, cache={"/{which}": CachePolicy(ttl="1m")})
    app = Starlette(routes=[Mount("/inner", mounted)])
    handle = install(app, store=store, cache={"/{path:path}": CachePolicy(ttl="1m")})
    client = Client(app)

    assert [(await client.get("/inner/own")).body for _ in range(3)] == [b"1", b"2", b"3"]
    assert [(await client.get("/inner/all")).body for _ in range(3)] == [b"4", b"4", b"4"]
    await handle.cache.purge(tags=["page"])
    assert (await client.get("/inner/all")).body == b"5"
    await handle.cache.purge(url="/inner/all")
    assert (await client.get("/inner/all")).body == b"6"
