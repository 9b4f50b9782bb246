"""The cache among the app's other middleware."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware as CookieSessions

from cachemw import CacheMiddleware, MemoryStore, SessionMiddleware
from cachemw.caching.placement import faults, strays, warnings
from cachemw.routes import Pattern

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
    assert warnings([GZIP, CACHE, Middleware(CORSMiddleware)], CacheMiddleware) == []


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
