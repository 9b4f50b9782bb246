"""A shop with a past: routes of every kind, and traffic enough for every page to show something."""

import asyncio
from typing import Any

import httpx2
from fastapi import Depends, FastAPI, HTTPException, Request, Response

from cachemw import Cached, CachePolicy, Purges, RateLimit, Sessions, install
from cachemw.dashboard import dashboard
from cachemw.stores.base import Store

HOSTILE = "<img src=x onerror=alert(1)>"


def shop(store: Store, **options: Any) -> FastAPI:
    app = FastAPI(title="Shop")

    @app.get("/products/{id}", dependencies=[Cached(ttl="5m", tags=["product:{id}", "products"])])
    async def product(id: str) -> dict[str, str]:
        await asyncio.sleep(0.02)
        return {"id": id}

    @app.put("/products/{id}", dependencies=[Purges("product:{id}")])
    async def change(id: str) -> None: ...

    @app.get("/rates", dependencies=[Cached(ttl="1s", stale_while_revalidate="1h")])
    async def rates() -> dict[str, float]:
        await asyncio.sleep(0.01)
        return {"EUR": 1.0}

    @app.get("/cart", dependencies=[Cached(ttl="5m")])
    async def cart(response: Response) -> str:
        response.set_cookie("cart", "1")
        return "your cart"

    @app.get("/search", dependencies=[Cached(ttl="1m", vary_by=["Accept-Language"])])
    async def search(q: str = "") -> str:
        return q

    @app.get("/static/{file}")
    async def static(file: str) -> str:
        return file

    @app.get("/me")
    async def me(request: Request) -> str:
        return str(request.session.get("user_id"))

    @app.post("/login", dependencies=[Depends(RateLimit("5/minute", name="login"))])
    async def login(request: Request) -> None:
        request.session["user_id"] = "ann"

    @app.get("/lost", dependencies=[Cached(ttl="1m")])
    async def lost() -> None:
        raise HTTPException(404)

    app.mount("/cache", dashboard(app, **options))
    install(
        app,
        store=store,
        cache={"/static/{file}": CachePolicy.preset("static")},
        limits={"/api/{rest:path}": RateLimit("100/minute", name="api")},
        sessions=Sessions(idle="30m", absolute="12h", secure=False, cookie="sid"),
    )
    return app


async def visit(at: str) -> None:
    """What visitors do: look at products, at rates, at a cart; log in too often."""
    async with httpx2.AsyncClient(base_url=at) as client:

        async def get(path: str, **headers: str) -> None:
            await client.get(path, headers=headers)
            client.cookies.clear()

        for number in range(12):
            await asyncio.gather(*(get(f"/products/{n}") for n in (number % 4, number % 3, 1)))
        await get(f"/products/{HOSTILE}")
        await asyncio.gather(*(get("/products/new") for _ in range(5)))
        for language in ("de", "en", "de", "fr"):
            await get("/search?q=shoes", **{"accept-language": language})
        for path in ("/rates", "/cart", "/cart", "/lost", "/me", "/nowhere"):
            await get(path)
        await get("/products/1", authorization="Bearer x")
        await client.put("/products/2")
        await get("/products/2")
        for _ in range(7):
            await client.post("/login")
            client.cookies.clear()
