"""cachemw as its README sets it up, in front of the same Starlette app."""

from starlette.applications import Starlette
from starlette.types import ASGIApp

from benchmarks.apps import bare
from cachemw import (
    CacheMiddleware,
    CachePolicy,
    RateLimit,
    RateLimitMiddleware,
    SessionMiddleware,
    Sessions,
    install,
    open_store,
)
from cachemw.stores.base import Store

POLICY = CachePolicy(ttl="1h", force=True)
ROUTES = {
    "/item/{n}": POLICY,
    "/big/{n}": POLICY,
    "/slow/{n}": POLICY,
    "/sized/{size}/{n}": POLICY,
}
MOST = "1000000000"


def _store() -> Store:
    # The deadline is generous, because here a full core is no failure.
    return open_store(bare.URL + "?deadline=1s")


def cache() -> ASGIApp:
    app = Starlette(routes=bare.routes())
    app.add_middleware(CacheMiddleware, store=_store(), routes=ROUTES)
    return app


def near() -> ASGIApp:
    app = Starlette(routes=bare.routes())
    app.add_middleware(CacheMiddleware, store=_store(), routes=ROUTES, near_cache="64MiB")
    return app


def no_policy() -> ASGIApp:
    """The cache is there, and has nothing to do with these routes."""
    app = Starlette(routes=bare.routes())
    app.add_middleware(CacheMiddleware, store=_store(), routes={"/elsewhere/{n}": POLICY})
    return app


def one_limit() -> ASGIApp:
    return _limited(RateLimit(f"{MOST}/minute"))


def three_limits() -> ASGIApp:
    return _limited(RateLimit(f"{MOST}/second", f"{MOST}/minute", f"{MOST}/hour"))


def sessions() -> ASGIApp:
    app = Starlette(routes=bare.session_routes())
    app.add_middleware(SessionMiddleware, store=_store(), idle="30m", secure=False)
    return app


def everything() -> ASGIApp:
    """A limit, the cache and sessions, as `install` puts them around an app."""
    app = Starlette(routes=bare.session_routes())
    install(
        app,
        store=bare.URL + "?deadline=1s",
        # A page that is the same for all, asked for by a visitor with a cookie.
        cache={"/item/{n}": CachePolicy(ttl="1h", force=True, credentials="strip")},
        limits={"/{rest:path}": RateLimit(f"{MOST}/minute")},
        sessions=Sessions(idle="30m", secure=False),
    )
    return app


def _limited(rule: RateLimit) -> ASGIApp:
    app = Starlette(routes=bare.routes())
    app.add_middleware(RateLimitMiddleware, store=_store(), default=rule)
    return app
