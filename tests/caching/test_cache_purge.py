"""Invalidation, in memory, on every server and on a cluster."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cachemw.caching.cache import Cache
from cachemw.caching.datakeys import holders_key, literal
from cachemw.caching.hosts import Hosts
from cachemw.caching.keys import primary_key, record_key
from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.caching.stamps import stamp_key
from cachemw.caching.tags import tag_bytes
from cachemw.errors import ConfigurationError
from cachemw.messages import RequestHead
from cachemw.stores import open_store
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore
from tests.servers import Server

pytestmark = pytest.mark.anyio

Opener = Callable[[str], Store]


@pytest.fixture
async def opened(anyio_backend: str) -> AsyncIterator[Opener]:
    stores: list[Store] = []

    def opener(url: str) -> Store:
        stores.append(open_store(f"{url}?deadline=5s"))
        return stores[-1]

    yield opener
    for store in stores:
        await store.aclose()


PLACES = [
    "memory",
    "server",
    pytest.param("cluster", marks=[pytest.mark.cluster, pytest.mark.xdist_group("cluster")]),
]


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, opened: Opener) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "server":
        return opened(request.getfixturevalue("valkey_url"))
    return opened(request.getfixturevalue("cluster").url)


@pytest.fixture
def cache(store: Store) -> Cache:
    return Cache(store)


async def test_purge_by_tag_takes_all_and_nothing_else(cache: Cache, store: Store) -> None:
    other = Cache(store)  # another worker
    values = {f"k{number}": number for number in range(50)}
    await cache.set_many(values, "5m", tags=["product:3", "all"])
    await cache.set("apart", 1, "5m", tags=["product:4"])
    assert await other.get_many(values) == values
    await cache.purge(tags=["product:3"])
    assert await other.get_many([*values, "apart"]) == {"apart": 1}
    await cache.set_many(values, "5m", tags=["product:3"])
    assert await other.get_many(values) == values


async def test_tags_in_several_buckets_are_one_purge(cache: Cache) -> None:
    tags = [f"product:{number}" for number in range(100)]
    for tag in tags:
        await cache.set(tag, 1, "5m", tags=[tag])
    assert len(await cache.get_many(tags)) == 100
    await cache.purge(tags=tags)
    assert await cache.get_many(tags) == {}


async def test_bump_a_namespace(cache: Cache) -> None:
    await cache.set("a", 1, "5m", namespace="catalogue")
    await cache.set("b", 1, "5m", namespace="prices", tags=["catalogue"])
    await cache.bump("catalogue")
    assert await cache.get_many(["a", "b"]) == {"b": 1}


async def test_a_load_that_began_before_a_purge_cannot_bring_it_back(cache: Cache) -> None:
    for kind in ({"tags": ["t"]}, {"namespace": "n"}, {"key": "user:1"}, {"pattern": "user:*"}):
        began, finish = asyncio.Event(), asyncio.Event()

        async def load(began: asyncio.Event = began, finish: asyncio.Event = finish) -> str:
            began.set()
            await finish.wait()
            return "from before"

        load_it = cache.get_or_set("user:1", load, "5m", tags=["t"], namespace="n")
        reader = asyncio.create_task(load_it)
        await began.wait()
        await cache.purge(**kind)
        finish.set()
        assert await reader == "from before"
        assert await cache.get("user:1") is None, kind


async def test_an_evicted_stamp_is_a_miss(cache: Cache, store: Store) -> None:
    await cache.set("k", 1, "5m", tags=["t"])
    assert await store.delete([stamp_key(tag_bytes("t"))]) == 1
    assert await cache.get("k") is None
    await cache.set("k", 1, "5m", tags=["t"])
    assert await cache.get("k") == 1


async def test_an_evicted_lease_keeps_nothing(cache: Cache, store: Store) -> None:
    async def load() -> int:
        await store.delete([holders_key("k")])
        return 1

    assert await cache.get_or_set("k", load, "5m") == 1
    assert await cache.get("k") is None


async def test_patterns(cache: Cache) -> None:
    keys = [f"user:{user}:{number}" for user in (1001, 1002, "1001*") for number in range(700)]
    await cache.set_many(dict.fromkeys(keys, 1), "5m")
    told: list[int] = []
    purge = cache.purge
    assert await purge(pattern="user:1001:*", dry_run=True, progress=told.append) == 700
    assert told[-1] == 700
    assert sorted(told) == told
    assert len(await cache.get_many(keys)) == 2100
    assert await purge(pattern="user:1001:*") == 700
    assert await purge(pattern=f"user:{literal('1001*')}:*") == 700
    assert sorted(await cache.keys()) == sorted(key for key in keys if ":1002:" in key)
    assert await purge(pattern="user:1001*") == 0


async def test_glob_characters_in_data_are_literal(cache: Cache) -> None:
    names = ["*", "a*", "?", "[ab]", "a", "b", "\\", "\\*", "{x}", "^", "é*"]
    await cache.set_many({f"n:{name}": name for name in names}, "5m")
    for name in names:
        assert await cache.purge(pattern=f"n:{literal(name)}") == 1
        assert await cache.get(f"n:{name}") is None
    assert await cache.keys() == []


async def test_keys_and_soft_purges_of_one(cache: Cache) -> None:
    await cache.set_many({"a": 1, "b": 2}, "5m", stale_while_revalidate="1m")
    assert await cache.purge(key="a") == 1
    assert await cache.purge(key="a") == 0
    assert await cache.purge(key="b", soft=True) == 1
    assert await cache.get_many(["a", "b"]) == {}
    assert await cache.get_or_set("b", lambda: 3, "5m") == 2  # stale, and refreshed behind
    await cache.aclose()
    assert await cache.get("b") == 3


async def test_several_kinds_at_once(cache: Cache) -> None:
    await cache.set("a", 1, "5m", tags=["t"])
    await cache.set("b:1", 1, "5m")
    await cache.set("c", 1, "5m")
    assert await cache.purge(tags="t", pattern="b:*", key="c") == 2
    assert await cache.get_many(["a", "b:1", "c"]) == {}


@pytest.mark.parametrize("wrong", [{}, {"tags": "t", "dry_run": True}, {"dry_run": True}])
async def test_a_purge_of_nothing_is_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        await Cache(MemoryStore()).purge(**wrong)


# --- pages and values together


class Shop:
    """An app whose pages show a number, cached in front of it."""

    def __init__(self, store: Store) -> None:
        self.number = 1
        policy = CachePolicy(ttl="5m", tags=["product:{id}"], namespace="shop")
        routes = [Route("/p/{id}", self.page)]
        self.app = CacheMiddleware(
            Starlette(routes=routes), store=store, routes={"/p/{id}": policy}
        )

    async def page(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(self.number))


@pytest.mark.parametrize(
    "purge",
    [
        {"tags": "product:3"},
        {"namespace": "shop"},
        {"route": "/p/{id}"},
        {"url": "https://shop.example/p/3?x=1"},
        {"url": "/p/3?x=1"},
    ],
)
async def test_a_purge_reaches_pages_and_values(purge: dict[str, Any], store: Store) -> None:
    shop, cache = Shop(store), Cache(store)

    async def show() -> int:
        transport = httpx2.ASGITransport(shop.app)
        async with httpx2.AsyncClient(transport=transport, base_url="https://shop.example") as it:
            return int((await it.get("/p/3?x=1")).text)

    assert await show() == 1
    await cache.set("value", 1, "5m", tags=["product:3"], namespace="shop")
    shop.number = 2
    assert await show() == 1
    await cache.purge(**purge)
    assert await show() == 2
    is_tagged = "tags" in purge or "namespace" in purge
    assert await cache.get("value") == (None if is_tagged else 1)


# --- URLs


async def store_page(
    store: Store, url: str, policy: CachePolicy | None = None, *, host: bytes = b"shop.example"
) -> bytes:
    """Put something under the key of a page, as the middleware names it, and answer the key."""
    path, _, query = url.partition("?")
    request = RequestHead("GET", "https", host, path.encode(), query.encode())
    assert await Hosts(store).admit(request, 60)
    key = record_key(primary_key(request, policy or CachePolicy()))
    await store.set(key, b"a page", ttl=60_000)
    return key


async def test_a_path_means_every_origin_and_an_absolute_url_its_own(store: Store) -> None:
    cache = Cache(store)
    pages = [
        await store_page(store, "/p/3?page=2", host=host)
        for host in (b"a.example", b"b.example", b"c.example:8080")
    ]
    assert await cache.purge(url="https://B.example:443/p/3?page=2") == 1
    assert [page is not None for page in await store.get_many(pages)] == [True, False, True]
    assert await cache.purge(url="/p/3") == 0
    assert await cache.purge(url="/p/3?page=2") == 2
    assert await store.get_many(pages) == [None] * 3


@pytest.mark.parametrize(
    ("stored", "purged"),
    [
        ("/p?b=2&a=1", "/p?a=1&b=2"),
        ("/caf%C3%A9/x%20y?q=%C3%A9", "/café/x y?q=é"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/", "https://shop.example"),
        ("/a;b=c/@d:e,(f)'!$&*+=", "/a;b=c/@d:e,(f)'!$&*+="),
        ("/p?q=a+b&r=[1]", "/p?q=a+b&r=[1]#fragment"),
    ],
)
async def test_spellings_of_a_url(stored: str, purged: str) -> None:
    store = MemoryStore()
    await store_page(store, stored)
    assert await Cache(store).purge(url=purged) == 1


async def test_the_policy_says_which_parameters_count() -> None:
    store = MemoryStore()
    policy = CachePolicy(ttl="5m", query=["page"])
    asked: list[str] = []

    def policy_of(path: str) -> CachePolicy | None:
        asked.append(path)
        return policy

    await store_page(
        store, "/café x?page=2&utm=1".replace("é", "%C3%A9").replace(" ", "%20"), policy
    )
    assert await Cache(store).purge(url="/café x?utm=2&page=2") == 0
    assert await Cache(store, policies=policy_of).purge(url="/café x?utm=2&page=2") == 1
    assert asked == ["/café x"]


@pytest.mark.parametrize("url", ["p/3", "", "//host/p", "ftp://host/p", "mailto:x"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        await Cache(MemoryStore()).purge(url=url)


# --- cost


def calls(server: Server) -> dict[str, int]:
    stats = server.info("commandstats")
    return {name: int(text.split(",")[0].removeprefix("calls=")) for name, text in stats.items()}


async def test_a_purge_costs_the_same_whatever_it_covers(server: Server, opened: Opener) -> None:
    cache = Cache(opened(server.url))
    costs = []
    for size in (1, 10, 1000):
        await cache.set_many({f"{size}:{n}": n for n in range(size)}, "5m", tags=[f"t{size}"])
        before = calls(server)
        await cache.purge(tags=[f"t{size}"])
        after = calls(server)
        costs.append({name: after[name] - before.get(name, 0) for name in after})
        costs[-1].pop("cmdstat_info")
    assert costs[1] == costs[2]
    assert costs[1]["cmdstat_evalsha"] == 1  # its instant and its stamp are one step


async def test_a_hit_is_one_trip_once_its_tags_are_known(server: Server, opened: Opener) -> None:
    writer, cache = Cache(opened(server.url)), Cache(opened(server.url))
    await writer.set("k", 1, "5m", tags=["a", "b"])
    await cache.get("k")
    before = calls(server)["cmdstat_mget"]
    assert await cache.get("k") == 1
    assert await cache.get_or_set("k", lambda: 2, "5m") == 1
    assert calls(server)["cmdstat_mget"] - before == 2


async def test_all_that_is_written_has_an_end(server: Server, opened: Opener) -> None:
    cache = Cache(opened(server.url))
    await cache.set("k", 1, "5m", tags=["t"], namespace="n")
    await cache.get_or_set("l", lambda: None, "5m")
    await cache.persist("k")
    await cache.write_through("w", 1, lambda _: None, "1h", purges="t")
    async with cache.writing(keys="x", tags="y"):
        for key in server.ask("KEYS", "*"):
            assert server.ask("PTTL", key) > 0, key
    assert math.isclose(await cache.ttl("w") or 0, 3600, abs_tol=60)
