"""A shop whose pages are cached in every way, and that answers as its query says."""

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cachemw import CachePolicy, cached, install, purges
from cachemw.stores.base import Store
from cachemw.testing.client import Client

calls: list[str] = []


async def page(request: Request) -> Response:
    """`?header=value` parameters that begin with `_` become headers of the answer."""
    calls.append(str(request.url))
    said = {name[1:]: value for name, value in request.query_params.items() if name[0] == "_"}
    status = int(said.pop("status", 200))
    return PlainTextResponse("page " * 500, status_code=status, headers=said)


@cached(ttl="30s", namespace="feed")
async def feed(request: Request) -> Response:
    return await page(request)


@purges("product:{id}", urls=["/about"])
async def change(request: Request) -> Response:
    return await page(request)


async def guard(connection: Any) -> bool:
    return "x-member" in connection.headers


POLICIES = {
    "/products/new": CachePolicy(ttl=None),
    "/products/{id}": CachePolicy(
        ttl="1m",
        jitter=0,
        stale_while_revalidate="1m",
        stale_if_error="5m",
        tags=["product:{id}"],
        vary_by=["Accept-Language"],
        compress=True,
    ),
    "/about": CachePolicy(ttl="1h", jitter=0, obey_client=True),
    "/me": CachePolicy(ttl="1m", jitter=0, credentials="identity"),
    "/members": CachePolicy(ttl="1m", jitter=0, credentials="shared", guard=guard),
    "/nowhere": CachePolicy(ttl="1m"),
}


def shop(store: Store, default: CachePolicy | None = None) -> Starlette:
    app = Starlette(
        routes=[
            Route("/products/new", page),
            Route("/products/{id}", page),
            Route("/products/{id}", change, methods=["PUT"]),
            Route("/products/{name}", page),
            *(Route(path, page) for path in ("/about", "/me", "/members", "/plain")),
            Route("/feed", feed),
        ]
    )
    install(app, store=store, cache=POLICIES, default=default)
    return app


async def visit(app: Starlette, *targets: str, method: str = "GET", **headers: str) -> Client:
    client = Client(app)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    for target in targets:
        await client.request(method, target, headers=fields)
    await asyncio.sleep(0)
    return client
