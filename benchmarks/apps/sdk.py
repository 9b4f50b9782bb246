# mypy: disable-error-code="import-not-found"
"""fastapi-redis-sdk, as its README sets it up: caching, rate limits and sessions."""

import asyncio
import os
from typing import Any

from fastapi import Depends, FastAPI, Response
from redis_fastapi import FastAPIRedis, SessionDep, cache, get_settings, rate_limit

from benchmarks.apps.origin import SIZES, body, document, ran

CACHED = [Depends(cache(ttl=3600, eviction_group="products"))]
MOST = 1_000_000_000


def _app() -> FastAPI:
    get_settings().url = os.environ["BENCH_REDIS_URL"]
    return FastAPI()


def caching() -> FastAPI:
    app = _app()
    FastAPIRedis(app).lifespan().caching()

    @app.get("/item/{number}", dependencies=CACHED)
    async def item(number: int) -> dict[str, Any]:
        ran()
        return document(number)

    @app.get("/big/{number}", dependencies=CACHED)
    async def big(number: int) -> dict[str, Any]:
        ran()
        return document(number, SIZES["big"])

    @app.get("/slow/{number}", dependencies=CACHED)
    async def slow(number: int) -> dict[str, Any]:
        ran()
        await asyncio.sleep(0.1)
        return document(number)

    return app


def limits() -> FastAPI:
    return _limited(f"{MOST}/minute")


def three_limits() -> FastAPI:
    return _limited(f"{MOST}/second", f"{MOST}/minute", f"{MOST}/hour")


def _limited(*rates: str) -> FastAPI:
    app = _app()
    FastAPIRedis(app).lifespan().rate_limiting()
    rules = [Depends(rate_limit(rate, scope=f"item:{rate}")) for rate in rates]

    @app.get("/item/{number}", dependencies=rules)
    async def item(number: int) -> Response:
        return Response(body(number), media_type="application/json")

    return app


def sessions() -> FastAPI:
    app = _app()
    get_settings().session_cookie_https_only = False
    FastAPIRedis(app).lifespan().sessions()

    @app.post("/login")
    async def login(session: SessionDep) -> Response:
        session["user_id"] = "17"
        session["basket"] = ["teapot", "cup", "cup"]
        return Response("welcome")

    @app.get("/read")
    async def read(session: SessionDep) -> Response:
        return _page(session)

    @app.get("/write")
    async def write(session: SessionDep) -> Response:
        session["count"] = session.get("count", 0) + 1
        return _page(session)

    return app


def _page(session: Any) -> Response:
    known = session.get("user_id") == "17" and "basket" in session
    if not known:
        return Response("who are you?", 403)
    return Response(body(0), media_type="application/json")
