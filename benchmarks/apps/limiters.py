# mypy: disable-error-code="import-not-found"
"""Rate limiters, as the documentation of each has it; every handler returns a constant.

Each lives in an environment of its own, so each is imported where it is used.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, HTTPException, Request, Response

from benchmarks.apps.origin import body

MOST = 1_000_000_000


def slowapi() -> FastAPI:
    from slowapi import Limiter, _rate_limit_exceeded_handler
    from slowapi.errors import RateLimitExceeded
    from slowapi.util import get_remote_address

    url = os.environ["BENCH_REDIS_URL"]
    limiter = Limiter(key_func=get_remote_address, storage_uri=url, headers_enabled=True)
    app = FastAPI()
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)

    @app.get("/item/{number}")
    @limiter.limit(f"{MOST}/minute")
    async def item(request: Request, number: int) -> Response:
        return _page(number)

    return app


def fastapi_limiter() -> FastAPI:
    from fastapi_limiter.depends import RateLimiter
    from pyrate_limiter import Duration, Limiter, Rate, RedisBucket
    from redis.asyncio import Redis

    rate = Rate(MOST, Duration.MINUTE)
    rule = RateLimiter(limiter=Limiter(rate))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Its README has memory only; this is the Redis bucket of the library below.
        redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])
        rule.limiter = Limiter(await RedisBucket.init([rate], redis, "bucket"))
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/item/{number}", dependencies=[Depends(rule)])
    async def item(number: int) -> Response:
        return _page(number)

    return app


def limits() -> FastAPI:
    from limits import parse
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    limiter = FixedWindowRateLimiter(RedisStorage("async+" + os.environ["BENCH_REDIS_URL"]))
    rule = parse(f"{MOST}/minute")

    async def demand(request: Request) -> None:
        if not await limiter.hit(rule, request.client.host if request.client else "nobody"):
            raise HTTPException(429)

    app = FastAPI()

    @app.get("/item/{number}", dependencies=[Depends(demand)])
    async def item(number: int) -> Response:
        return _page(number)

    return app


def _page(number: int) -> Response:
    return Response(body(number), media_type="application/json")
