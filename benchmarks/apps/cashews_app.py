# mypy: disable-error-code="import-not-found"
"""cashews' decorator on FastAPI handlers: plain, with its client-side cache, with its lock."""

import asyncio
import os
from typing import Any

from cashews import cache
from fastapi import FastAPI

from benchmarks.apps.origin import SIZES, document, ran


def caching() -> FastAPI:
    return _app()


def client_side() -> FastAPI:
    return _app(client_side=True)


def locking() -> FastAPI:
    return _app(lock=True)


def _app(*, client_side: bool = False, lock: bool = False) -> FastAPI:
    cache.setup(os.environ["BENCH_REDIS_URL"], client_side=client_side)
    app = FastAPI()

    @app.get("/item/{number}")
    @cache(ttl="1h", key="item:{number}", lock=lock)
    async def item(number: int) -> dict[str, Any]:
        ran()
        return document(number)

    @app.get("/big/{number}")
    @cache(ttl="1h", key="big:{number}", lock=lock)
    async def big(number: int) -> dict[str, Any]:
        ran()
        return document(number, SIZES["big"])

    @app.get("/slow/{number}")
    @cache(ttl="1h", key="slow:{number}", lock=lock)
    async def slow(number: int) -> dict[str, Any]:
        ran()
        await asyncio.sleep(0.1)
        return document(number)

    return app
