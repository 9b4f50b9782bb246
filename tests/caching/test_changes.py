"""What a change makes obsolete, by the app's own marks and by HTTP."""

import logging
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from cachemw import CacheMiddleware, CachePolicy, MemoryStore, Purges, StoreUnavailable, install
from cachemw.testing import Client, ScriptedOrigin

pytestmark = pytest.mark.anyio


class Shop:
    """A shop whose pages are cached, and whose changes purge by all kinds of marks."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.status = 200
        shared = CachePolicy(ttl=60, tags=["item:{id}"], namespace="shop")
        soft = CachePolicy(ttl=60, stale_while_revalidate=60, tags=["soft:{id}"])
        install(
            self.app,
            store=MemoryStore(),
            cache={"/items/{id}": shared, "/soft/{id}": soft, "/search": CachePolicy(ttl=60)},
        )

        async def page(id: str = "") -> str:
            return id

        for path in ("/items/{id}", "/soft/{id}", "/search"):
            self.app.get(path)(page)
        marks: dict[str, Any] = {
            "/by-tag/{id}": Purges("item:{id}"),
            "/by-namespace": Purges(namespace="shop"),
            "/by-url/{id}": Purges(urls="/items/{id}"),
            "/by-query/{id}": Purges(urls="/search?q={id}"),
            "/by-absolute/{id}": Purges(urls="http://other.example/items/{id}"),
            "/softly/{id}": Purges("soft:{id}", soft=True),
        }

        async def change(id: str = "") -> None:
            if self.status != 200:
                raise HTTPException(self.status)

        for path, mark in marks.items():
            self.app.post(path, dependencies=[mark])(change)

    async def filled(self, *paths: str, host: str = "testserver") -> Client:
        client = Client(self.app, host=host)
        for path in paths:
            assert (await client.get(path)).is_stored
            assert (await client.get(path)).cache == "hit"
        return client


@pytest.mark.parametrize(
    ("change", "gone", "stays"),
    [
        ("/by-tag/1", "/items/1", "/items/2"),
        ("/by-namespace", "/items/1", "/search"),
        ("/by-url/1", "/items/1", "/items/2"),
        ("/by-query/a", "/search?q=a", "/search?q=b"),
        ("/by-url/a%20b", "/items/a%20b", "/items/a"),
    ],
)
async def test_a_mark_purges_what_it_names_after_success(
    change: str, gone: str, stays: str
) -> None:
    shop = Shop()
    client = await shop.filled(gone, stays)
    shop.status = 409
    await client.request("POST", change)
    assert (await client.get(gone)).cache == "hit"
    shop.status = 200
    await client.request("POST", change)
    assert (await client.get(gone)).cache == "miss"
    assert (await client.get(stays)).cache == "hit"


async def test_a_soft_purge_leaves_something_to_serve() -> None:
    shop = Shop()
    client = await shop.filled("/soft/1")
    await client.request("POST", "/softly/1")
    response = await client.get("/soft/1")
    assert (response.cache, response.detail) == ("stale", "soft-purged")


async def test_an_absolute_url_names_its_own_host() -> None:
    shop = Shop()
    here = await shop.filled("/items/1")
    there = await shop.filled("/items/1", host="other.example")
    await here.request("POST", "/by-absolute/1")
    assert (await there.get("/items/1")).cache == "miss"
    assert (await here.get("/items/1")).cache == "hit"


@pytest.mark.parametrize(
    ("status", "purges"), [(303, True), (302, True), (401, False), (500, False)]
)
async def test_a_redirect_is_a_success(status: int, purges: bool) -> None:
    shop = Shop()
    client = await shop.filled("/items/1")
    shop.status = status
    await client.request("POST", "/by-url/1")
    assert (await client.get("/items/1")).cache == ("miss" if purges else "hit")


async def test_a_path_of_a_mark_means_every_host() -> None:
    shop = Shop()
    here = await shop.filled("/items/1")
    there = await shop.filled("/items/1", "/items/2", host="other.example")
    await here.request("POST", "/by-url/1")
    assert (await there.get("/items/1")).cache == "miss"
    assert (await here.get("/items/1")).cache == "miss"
    assert (await there.get("/items/2")).cache == "hit"


async def test_what_a_response_names_is_of_its_own_host() -> None:
    shop = Shop()

    async def replace(id: str) -> None: ...

    shop.app.put("/items/{id}")(replace)
    here = await shop.filled("/items/1")
    there = await shop.filled("/items/1", host="other.example")
    await here.request("PUT", "/items/1")
    assert (await here.get("/items/1")).cache == "miss"
    assert (await there.get("/items/1")).cache == "hit"


async def test_what_makes_a_mark_no_address_is_passed_over() -> None:
    shop = Shop()

    async def change(name: str) -> None: ...

    shop.app.post("/odd/{name}", dependencies=[Purges(urls="http://[{name}/x")])(change)
    client = await shop.filled("/items/1")
    assert (await client.request("POST", "/odd/x")).status == 200
    assert (await client.get("/items/1")).cache == "hit"


async def test_below_a_root_path_urls_are_purged_all_the_same() -> None:
    origin = ScriptedOrigin()
    cache = CacheMiddleware(
        origin, store=MemoryStore(), routes={"/items/{id}": CachePolicy(ttl=60)}
    )
    client = Client(cache, scope={"root_path": "/api"})
    assert (await client.get("/api/items/1")).is_stored
    await client.request("PUT", "/api/items/1")
    assert (await client.get("/api/items/1")).cache == "miss"


@pytest.mark.parametrize("is_app", [False, True], ids=["routes", "app"])
async def test_what_is_changed_within_a_mount_is_purged_where_it_is(is_app: bool) -> None:
    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    async def change(request: Request) -> Response:
        return PlainTextResponse("changed", headers={"location": "/list"})

    inner: list[BaseRoute] = [
        Route("/items/{id}", page),
        Route("/items/{id}", change, methods=["PUT"]),
    ]
    mount = Mount("/shop", app=Starlette(routes=inner)) if is_app else Mount("/shop", routes=inner)
    app = Starlette(routes=[Route("/list", page), mount])
    policy = CachePolicy(ttl=60)
    handle = install(app, store=MemoryStore(), cache={"/list": policy, "/shop/items/{id}": policy})
    client, gone, stays = Client(app), ("/shop/items/1", "/list"), "/shop/items/2"
    for path in (*gone, stays):
        assert (await client.get(path)).is_stored
    await client.request("PUT", "/shop/items/1")
    assert [(await client.get(path)).cache for path in gone] == ["miss", "miss"]
    assert (await client.get(stays)).cache == "hit"
    (purge,) = handle.store.tally.purges
    assert purge.names == gone


async def test_a_purge_that_is_lost_is_told_and_the_change_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Away(MemoryStore):
        def delete(self, keys: Any) -> Any:
            async def fail() -> int:
                raise StoreUnavailable("the store is away")

            return fail()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"changed"})

    client = Client(CacheMiddleware(app, store=Away(), default=CachePolicy(ttl=60)))
    with caplog.at_level(logging.ERROR, "cachemw.cache"):
        assert (await client.request("DELETE", "/x")).body == b"changed"
    assert "a purge after DELETE /x was lost" in caplog.text
