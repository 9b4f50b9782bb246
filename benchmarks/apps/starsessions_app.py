# mypy: disable-error-code="import-not-found"
"""starsessions over Redis, with its autoloading middleware."""

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starsessions import SessionAutoloadMiddleware, SessionMiddleware
from starsessions.stores.redis import RedisStore

from benchmarks.apps.origin import body


async def log_in(request: Request) -> Response:
    request.session["user_id"] = "17"
    request.session["basket"] = ["teapot", "cup", "cup"]
    return Response("welcome")


async def read(request: Request) -> Response:
    known = request.session["user_id"] == "17" and "basket" in request.session
    if not known:
        return Response("who are you?", 403)
    return Response(body(0), media_type="application/json")


async def write(request: Request) -> Response:
    request.session["count"] = request.session.get("count", 0) + 1
    return await read(request)


def sessions() -> Starlette:
    store = RedisStore(os.environ["BENCH_REDIS_URL"])
    keeping = Middleware(SessionMiddleware, store=store, lifetime=1800, cookie_https_only=False)
    return Starlette(
        routes=[
            Route("/login", log_in, methods=["POST"]),
            Route("/read", read),
            Route("/write", write),
        ],
        middleware=[keeping, Middleware(SessionAutoloadMiddleware)],
    )
