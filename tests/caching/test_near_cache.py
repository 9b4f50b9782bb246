"""Hits from the process: without a trip, and coherent with what other workers purge."""

from collections.abc import AsyncIterator

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cachemw import CacheMiddleware, CachePolicy, RedisStore, open_store
from cachemw.caching.keeper import Keeper
from cachemw.stores.near import NearStore
from cachemw.testing.client import Client
from tests.servers import Server

pytestmark = pytest.mark.anyio


class Shop:
    """An app that counts its runs, behind a cache with a near cache."""

    def __init__(self, url: str) -> None:
        self.runs = 0
        store = open_store(url)
        assert isinstance(store, RedisStore)
        routes = {
            "/near": CachePolicy(ttl="5m", tags=["shop"]),
            "/far": CachePolicy(ttl="5m", near_cache=False),
            "/mine": CachePolicy(ttl="5m", credentials="identity"),
            "/mine/near": CachePolicy(ttl="5m", credentials="identity", near_cache=True),
        }
        app = Starlette(routes=[Route(path, self._page) for path in routes])
        self.cache = CacheMiddleware(app, store=store, routes=routes, near_cache="1MiB")
        assert isinstance(self.cache.store, NearStore)
        self.near = self.cache.store
        self.client = Client(self.cache)

    async def _page(self, request: Request) -> PlainTextResponse:
        self.runs += 1
        return PlainTextResponse(f"run {self.runs}")

    async def awake(self) -> None:
        await self.near.open()
        with anyio.fail_after(10):
            while not self.near.is_awake():  # noqa: ASYNC110 - the server's word sets no event
                await anyio.sleep(0.002)


@pytest.fixture
async def shop(server: Server) -> AsyncIterator[Shop]:
    shop = Shop(server.url)
    await shop.awake()
    yield shop
    await shop.near.aclose()


def reads(server: Server) -> int:
    stats = server.info("commandstats").get("cmdstat_mget", "calls=0")
    return int(str(stats).partition("calls=")[2].partition(",")[0])


async def test_a_near_hit_makes_no_trip(shop: Shop, server: Server) -> None:
    for _ in range(2):
        await shop.client.get("/near")
    before = reads(server)
    responses = [await shop.client.get("/near") for _ in range(5)]
    assert [response.cache for response in responses] == ["hit"] * 5
    assert (reads(server), shop.runs) == (before, 1)


@pytest.mark.parametrize("path", ["/far", "/mine"])
async def test_what_is_not_to_be_near_is_not(shop: Shop, server: Server, path: str) -> None:
    for _ in range(2):
        await shop.client.get(path)
    before = reads(server)
    assert (await shop.client.get(path)).cache == "hit"
    assert reads(server) == before + 1


async def test_what_is_one_users_own_is_near_by_choice(shop: Shop, server: Server) -> None:
    async def ask(who: str) -> bytes:
        return (await shop.client.get("/mine/near", headers={"authorization": who})).body

    for who, run in (("ada", b"run 1"), ("eve", b"run 2"), ("ada", b"run 1"), ("eve", b"run 2")):
        assert await ask(who) == run
    before = reads(server)
    assert [await ask(who) for who in ("ada", "eve", "ada")] == [b"run 1", b"run 2", b"run 1"]
    assert reads(server) == before


async def test_our_own_purge_is_seen_at_once(shop: Shop) -> None:
    for run in range(1, 6):
        assert (await shop.client.get("/near")).body == b"run %d" % run
        assert (await shop.client.get("/near")).cache == "hit"
        await shop.cache.engine.keeper.purge_tags([b"shop"])


async def test_another_workers_purge_arrives(shop: Shop, server: Server) -> None:
    await shop.client.get("/near")
    assert (await shop.client.get("/near")).cache == "hit"
    reports = shop.near.reports
    other = open_store(server.url)
    await Keeper(other).purge_tags([b"shop"])
    with anyio.fail_after(10):
        while shop.near.reports == reports:  # noqa: ASYNC110 - the server's word sets no event
            await anyio.sleep(0.002)
    assert (await shop.client.get("/near")).cache == "miss"
    await other.aclose()
