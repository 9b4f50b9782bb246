"""The cache among the app's other middleware."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware as CookieSessions

from cachemw import CacheMiddleware, MemoryStore, SessionMiddleware
from cachemw.caching.placement import faults, warnings

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
