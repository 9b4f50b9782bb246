"""The store is optional at every moment: answers stay right, and nothing is stored by halves."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from cachemw.caching.middleware import CacheMiddleware
from cachemw.caching.policy import CachePolicy
from cachemw.errors import StoreUnavailable
from cachemw.stores import MemoryStore, open_store
from cachemw.testing.chaos import ChaosStore, Mischief, at
from cachemw.testing.clock import FakeClock
from cachemw.testing.faultproxy import FaultProxy
from cachemw.testing.gate import Gate
from cachemw.testing.origin import START
from tests.caching.caches import FRESH, cached
from tests.servers import Server

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("vary", [{}, {"vary": "accept"}], ids=["plain", "varies"])
@pytest.mark.parametrize("mischief", [Mischief.FAIL, Mischief.LOSE, Mischief.LIE], ids=str)
async def test_a_store_that_fails_at_any_step(mischief: Mischief, vary: dict[str, str]) -> None:
    """Every trip of a life in turn: cold, warm, purged, softly purged, refreshed."""
    total = await a_life([], vary)
    assert total > 30
    for step in range(1, total + 1):
        await a_life(at(step, mischief), vary)


async def a_life(plan: Sequence[Mischief], vary: dict[str, str]) -> int:
    clock = FakeClock()
    store = ChaosStore(MemoryStore(clock=clock), plan=plan)
    cache = cached(
        store=store, clock=clock, tags=["shop"], stale_while_revalidate="1m", lease_wait=0, jitter=0
    )
    for truth in (1, 2):
        cache.origin.answers(f"body {truth} of the life", headers={**FRESH, **vary})
        purged = await purge(cache, [b"shop"])
        for _ in range(2):
            response = await cache.get("/", headers={"accept": "a/a"})
            assert response.status == 200
            if purged:
                assert response.body == b"body %d of the life" % truth
        clock.advance("61s")
        await cache.get("/", headers={"accept": "a/a"})
        await cache.settle()
        clock.advance("5m")
    return store.steps


@pytest.mark.parametrize("vary", [{}, {"vary": "accept"}], ids=["plain", "varies"])
async def test_a_request_that_is_cancelled_at_any_step(vary: dict[str, str]) -> None:
    """Whoever comes next is served, and nothing is left that nobody has waited for."""
    total = await one_that_is_cancelled([], vary)
    for step in range(1, total + 1):
        await one_that_is_cancelled(at(step, Mischief.CANCEL), vary)
    gc.collect()  # or the warnings would come later, in another test


async def one_that_is_cancelled(plan: Sequence[Mischief], vary: dict[str, str]) -> int:
    store = ChaosStore(MemoryStore(), plan=plan)
    cache = cached(store=store, tags=["shop"], lease_wait=0)
    cache.origin.answers("x", headers={**FRESH, **vary})
    asking = asyncio.create_task(cache.get("/", headers={"accept": "a/a"}))
    await asyncio.wait([asking])
    await cache.settle()
    store.calm()
    assert (await cache.get("/", headers={"accept": "a/a"})).body == b"x"
    return store.steps


async def purge(cache: Any, tags: Sequence[bytes]) -> bool:
    try:
        await cache.keeper.purge_tags(tags)
    except StoreUnavailable:
        return False
    return True


async def test_while_the_store_is_away_one_run_serves_all_who_ask_together() -> None:
    cache, gate = cached(), Gate()
    await cache.middleware.store.aclose()
    cache.origin.answers(gate, START, "x", headers=FRESH)
    askings = [cache.start("GET", "/") for _ in range(20)]
    await gate.reached()
    late = cache.start("GET", "/")
    gate.open()
    for asking in (*askings, late):
        response = await asking.response()
        assert (response.body, response.is_stored) == (b"x", False)
    assert cache.origin.called_once()


async def test_a_store_that_has_just_failed_is_not_asked_again_for_the_same_request() -> None:
    store = ChaosStore(MemoryStore(), plan=at(1, Mischief.FAIL))
    cache = cached(store=store)
    cache.origin.answers("x", headers=FRESH)
    assert (await cache.get("/")).detail == "store-unavailable"
    assert store.steps == 1


async def test_who_wants_only_what_is_cached_gets_nothing_else_while_the_store_is_away() -> None:
    """RFC 9111 §5.2.1.7: nobody can tell whether there is anything, and the app is not asked."""
    cache = cached()
    await cache.middleware.store.aclose()
    response = await cache.get("/", headers={"cache-control": "only-if-cached"})
    assert (response.status, response.detail) == (504, "only-if-cached")
    assert cache.origin.never_called()


async def test_a_purge_that_fails_is_told() -> None:
    cache = cached()
    await cache.middleware.store.aclose()
    with pytest.raises(StoreUnavailable):
        await cache.keeper.purge_tags([b"shop"])


async def test_a_hung_server_costs_its_deadline_and_not_the_answer(valkey: Server) -> None:
    cache = cached(store=open_store(valkey.url))
    cache.origin.answers("x", headers=FRESH)
    assert (await cache.get("/")).is_stored
    valkey.stop()
    response = await cache.get("/")
    assert (response.body, response.detail) == (b"x", "store-unavailable")
    valkey.cont()
    await cache.middleware.store.aclose()


async def test_a_head_says_whether_it_is_stored_however_long_that_takes(valkey: Server) -> None:
    cache = cached(store=open_store(valkey.url))
    headers = {**FRESH, "content-length": "1"}
    cache.origin.answers(lambda _: valkey.stop(), "x", headers=headers)  # once it has its lease
    response = await cache.get("/")
    assert (response.body, response.is_stored, response.detail) == (
        b"x",
        False,
        "store-unavailable",
    )
    valkey.cont()
    await cache.middleware.store.aclose()


async def test_a_swapped_reply_is_nobodys_page(valkey_url: str) -> None:
    async with FaultProxy(valkey_url) as proxy:
        cache = cached(store=open_store(proxy.url))
        for path in ("/a", "/b"):
            cache.origin.answers(path, headers=FRESH, path=path)
            await cache.get(path)
        for _ in range(3):
            proxy.swap_next_replies(to="MGET")
            askings = [cache.start("GET", path) for path in ("/a", "/b", "/a", "/b")]
            answers = [await asking.response() for asking in askings]
            assert [answer.body for answer in answers] == [b"/a", b"/b"] * 2
        await cache.middleware.store.aclose()


# A loop that just ends leaves its connections to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", ["memory", "server"])
def test_every_request_in_an_event_loop_of_its_own(kind: str, valkey_url: str) -> None:
    """As Starlette's TestClient does it without `with`."""
    runs = 0

    async def endpoint(request: Request) -> PlainTextResponse:
        nonlocal runs
        runs += 1
        return PlainTextResponse("x")

    app = Starlette(routes=[Route("/", endpoint)])
    store = MemoryStore() if kind == "memory" else open_store(valkey_url + "?deadline=2s")
    app.add_middleware(CacheMiddleware, store=store, routes={"/": CachePolicy(ttl=60)})
    client = TestClient(app)
    answers = [client.get("/") for _ in range(3)]
    assert ["hit" in answer.headers["cache-status"] for answer in answers] == [False, True, True]
    assert runs == 1
    del client, app, store
    gc.collect()


async def test_a_fill_of_another_event_loop_is_not_joined() -> None:
    cache, gate = cached(lease_wait=0.01), Gate()
    cache.origin.answers_once("one", gate, "!", headers=FRESH)
    cache.origin.answers("two", headers=FRESH)
    asking = cache.start("GET", "/")
    await gate.reached()

    def elsewhere() -> bytes:
        return asyncio.run(cache.get("/")).body

    assert await asyncio.to_thread(elsewhere) == b"two"
    gate.open()
    assert (await asking.response()).body == b"one!"
