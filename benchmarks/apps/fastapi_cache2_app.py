# mypy: disable-error-code="import-not-found"
"""fastapi-cache2, as its quick start has it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from redis import asyncio as aioredis

from benchmarks.apps.origin import SIZES, document, ran


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    redis = aioredis.from_url(os.environ["BENCH_REDIS_URL"])
    FastAPICache.init(RedisBackend(redis), prefix="fastapi-cache")
    yield


def caching() -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/item/{number}")
    @cache(expire=3600)
    async def item(number: int) -> dict[str, Any]:
        ran()
        return document(number)

    @app.get("/big/{number}")
    @cache(expire=3600)
    async def big(number: int) -> dict[str, Any]:
        ran()
        return document(number, SIZES["big"])

    @app.get("/slow/{number}")
    @cache(expire=3600)
    async def slow(number: int) -> dict[str, Any]:
        ran()
        await asyncio.sleep(0.1)
        return document(number)

    return app
