"""What the features of an app tell the tally, and when."""

import logging
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from cachemw import Cache, CachePolicy, MemoryStore, Purges, RateLimit, Sessions, install
from cachemw.errors import StoreUnavailable
from cachemw.stores.redis import RedisStore
from cachemw.stores.targets import from_url
from cachemw.telemetry.counters import RouteCounts
from cachemw.telemetry.events import LONGEST, Exchange
from cachemw.testing import START, Gate
from tests.caching.caches import FRESH, Cached, cached
from tests.servers import Server

pytestmark = pytest.mark.anyio


def counts(cache: Cached) -> RouteCounts:
    (found,) = cache.middleware.engine.tally.counts.routes.values()
    return found


def last(cache: Cached) -> Exchange:
    return cache.middleware.engine.tally.recent[-1]


async def test_a_miss_and_a_hit() -> None:
    cache = cached(ttl="1m")
    cache.origin.answers("page")
    await cache.get("/a")
    assert (last(cache).outcome, last(cache).stored, last(cache).status) == ("miss", True, 200)
    assert last(cache).route == "/{path:path}"
    cache.clock.advance("7s")
    await cache.get("/a?token=secret")
    assert last(cache).path == "/a"
    await cache.get("/a")
    assert (last(cache).outcome, last(cache).age, last(cache).size) == ("hit", 7.0, 4)
    found = counts(cache)
    assert (found.hits, found.misses, found.stored, found.size) == (1, 2, 2, 4)
    assert (found.age, found.reasons) == (7.0, {})


async def test_what_the_app_took_is_what_a_hit_saves() -> None:
    cache, gate = cached(ttl="1m"), Gate()
    cache.origin.answers(gate, START, "slow")
    asking = cache.start("GET", "/")
    await gate.reached()
    cache.clock.advance("3s")
    gate.open()
    await asking.response()
    await cache.get("/")
    await cache.get("/")
    assert counts(cache).saved == pytest.approx(6.0, abs=0.001)


@pytest.mark.parametrize(
    ("headers", "answer", "expected"),
    [
        ({"authorization": "x"}, {}, ("bypass", "authorization")),
        ({"cookie": "a=b"}, {}, ("bypass", "cookie")),
        ({}, {"headers": {"set-cookie": "a=b"}}, ("miss", "set-cookie")),
        ({}, {"headers": {"cache-control": "private"}}, ("miss", "private")),
        ({}, {"status": 500}, ("miss", "status")),
        ({"cache-control": "only-if-cached"}, {}, ("miss", "only-if-cached")),
        ({"range": "bytes=0-1"}, {}, ("bypass", "partial")),
    ],
)
async def test_why_not(
    headers: dict[str, str], answer: dict[str, Any], expected: tuple[str, str]
) -> None:
    cache = cached(ttl="1m")
    cache.origin.answers("page", **answer)
    response = await cache.get("/", headers=headers)
    assert counts(cache).reasons == {expected: 1}
    assert response.detail == expected[1]
    assert last(cache).status == response.status


async def test_a_hit_of_nothing_but_the_head_has_no_size() -> None:
    cache = cached(ttl="1m")
    cache.origin.answers("page")
    first = await cache.get("/")
    await cache.get("/", headers={"if-none-match": first.header("etag") or ""})
    assert (last(cache).status, last(cache).size, counts(cache).hits) == (304, 0, 1)


async def test_stale_and_its_refresh() -> None:
    cache = cached(stale_while_revalidate="1m")
    tally = cache.middleware.engine.tally
    cache.origin.answers("old", headers=FRESH)
    await cache.get("/")
    cache.clock.advance("70s")
    gate = Gate()
    cache.origin.answers(gate, "new", headers=FRESH)
    await cache.get("/")
    await gate.reached()
    assert tally.counts.running == 1
    await cache.get("/")
    gate.open()
    await cache.settle()
    assert (counts(cache).stale, counts(cache).reasons) == (
        2,
        {("stale", "stale-while-revalidate"): 2},
    )
    assert (tally.counts.running, tally.counts.refreshes) == (0, {"kept": 1, "collapsed": 1})
    (refresh,) = tally.refreshes
    assert (refresh.path, refresh.route, refresh.ended) == ("/", "/{path:path}", "kept")


async def test_a_refused_refresh() -> None:
    cache = cached(stale_while_revalidate="1m")
    cache.origin.answers("old", headers=FRESH)
    await cache.get("/")
    cache.clock.advance("70s")
    cache.origin.answers("mine", headers={"cache-control": "private"})
    await cache.get("/")
    await cache.settle()
    assert cache.middleware.engine.tally.counts.refreshes == {"refused": 1}


async def test_who_waits_for_another_counts_as_collapsed() -> None:
    cache, gate = cached(ttl="1m"), Gate()
    cache.origin.answers(gate, "page")
    asking = [cache.start("GET", "/") for _ in range(5)]
    await gate.reached()
    gate.open()
    for each in asking:
        await each.response()
    found = counts(cache)
    assert (found.misses, found.collapsed, found.stored) == (5, 4, 5)


async def test_where_the_policy_has_no_methods_nothing_is_counted() -> None:
    cache = cached(ttl="1m", methods=[])
    tally = cache.middleware.engine.tally
    cache.origin.answers("page")
    await cache.get("/")
    assert (tally.counts.routes, tally.counts.unruled, len(tally.recent)) == ({}, 0, 0)


async def test_a_request_without_a_policy_is_only_counted() -> None:
    cache = cached(ttl="1m", methods=["POST"])
    tally = cache.middleware.engine.tally
    cache.origin.answers("page")
    await cache.get("/")
    assert counts(cache).reasons == {("bypass", "method"): 1}
    assert tally.counts.unruled == 0


async def test_a_long_path_is_cut() -> None:
    cache = cached(ttl="1m")
    cache.origin.answers("page")
    await cache.get("/" + "x" * 1000)
    assert len(last(cache).path) == LONGEST


async def test_a_line_a_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cachemw.requests")
    cache = cached(ttl="1m")
    cache.origin.answers("page")
    await cache.get("/a")
    await cache.get("/a")
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("GET /a miss 200 route=/{path:path} stored ")
    assert second.startswith("GET /a hit 200 route=/{path:path} age=0s ")


async def test_whoever_watches_hears_of_everything() -> None:
    cache, heard = cached(ttl="1m"), list[Any]()
    cache.middleware.engine.tally.watchers = (heard.append,)
    cache.origin.answers("page")
    await cache.get("/")
    assert heard == [last(cache)]


# --- the other features


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()

    @app.get("/products/{id}")
    async def product(id: int) -> int:
        return id

    @app.put("/products/{id}", dependencies=[Purges("product:{id}")])
    async def change(id: int) -> None: ...

    return app


def test_one_app_tells_everything_to_one_tally(app: FastAPI) -> None:
    store = MemoryStore()
    handle = install(
        app,
        store=store,
        cache={"/products/{id}": CachePolicy(ttl="5m", tags=["product:{id}"])},
        limits={"GET /products/{id}": RateLimit("2/minute", name="few")},
        sessions=Sessions(secure=False),
    )
    with TestClient(app) as client:
        for _ in range(3):
            client.get("/products/1", headers={"cookie": "__x=1"})
        client.get("/nothing", headers={"cookie": "session=" + "0" * 40})
        client.put("/products/1")
        assert client.portal is not None
        client.portal.call(lambda: handle.cache.purge(tags=["product:1"], soft=True))
        fleet = client.portal.call(handle.fleet)
    counts = store.tally.counts
    assert counts.limits == {("few", "allowed"): 2, ("few", "limited"): 1}
    assert counts.routes["/products/{id}"].reasons == {("bypass", "cookie"): 2}
    assert counts.unruled == 1
    by_request, by_call = store.tally.purges
    assert (by_request.subject, by_request.cause) == ("change", "PUT /products/1")
    assert by_request.names == ("/products/1", "product:1")
    assert (by_call.subject, by_call.names, by_call.soft) == ("tags", ("product:1",), True)
    assert fleet.total == counts
    assert handle.sessions is not None
    assert counts.sessions == dict(handle.sessions.counters)


async def test_a_purge_that_fails_is_told_as_failed(valkey: Server) -> None:

    store = RedisStore(from_url(valkey.url))
    cache = Cache(store)
    await cache.purge(key="k")
    valkey.kill()
    with pytest.raises(StoreUnavailable):
        await cache.purge(tags=["t"], route="/x")
    fine, failed = store.tally.purges
    assert (fine.failed, failed.failed, failed.names) == (False, True, ("t", "/x"))
    assert store.tally.counts.purges["tags", ""].failed == 1
    assert sum(store.tally.counts.store.failures.values()) >= 1
    assert store.tally.counts.store.trips.count >= 1
    await store.aclose()
