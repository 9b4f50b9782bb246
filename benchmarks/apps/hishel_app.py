# mypy: disable-error-code="import-not-found"
"""hishel's ASGI middleware over Redis in its default mode: RFC 9111, the app says how long."""

import asyncio
import os

from hishel import AsyncRedisStorage
from hishel.asgi import ASGICacheMiddleware
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.apps.origin import SIZES, body, ran


def caching() -> ASGICacheMiddleware:
    storage = AsyncRedisStorage(Redis.from_url(os.environ["BENCH_REDIS_URL"]))
    routes = [Route("/item/{number}", item), Route("/big/{number}", big)]
    return ASGICacheMiddleware(
        Starlette(routes=[*routes, Route("/slow/{number}", slow)]), storage=storage
    )


async def item(request: Request) -> Response:
    ran()
    return _fresh(body(int(request.path_params["number"])))


async def big(request: Request) -> Response:
    ran()
    return _fresh(body(int(request.path_params["number"]), SIZES["big"]))


async def slow(request: Request) -> Response:
    ran()
    await asyncio.sleep(0.1)
    return _fresh(body(int(request.path_params["number"])))


def _fresh(content: bytes) -> Response:
    headers = {"cache-control": "max-age=3600"}
    return Response(content, headers=headers, media_type="application/json")
