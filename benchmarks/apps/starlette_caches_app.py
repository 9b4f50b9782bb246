# mypy: disable-error-code="import-not-found"
"""starlette-caches' middleware over aiocache's Redis backend."""

import asyncio
import os
from urllib.parse import urlsplit

from aiocache import Cache
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette_caches.middleware import CacheMiddleware

from benchmarks.apps.origin import SIZES, body, ran


def caching() -> CacheMiddleware:
    url = urlsplit(os.environ["BENCH_REDIS_URL"])
    cache = Cache(Cache.REDIS, endpoint=url.hostname, port=url.port, ttl=3600)
    routes = [Route("/item/{number}", item), Route("/big/{number}", big)]
    return CacheMiddleware(Starlette(routes=[*routes, Route("/slow/{number}", slow)]), cache=cache)


async def item(request: Request) -> Response:
    ran()
    return _json(body(int(request.path_params["number"])))


async def big(request: Request) -> Response:
    ran()
    return _json(body(int(request.path_params["number"]), SIZES["big"]))


async def slow(request: Request) -> Response:
    ran()
    await asyncio.sleep(0.1)
    return _json(body(int(request.path_params["number"])))


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")
