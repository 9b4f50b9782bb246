"""Stale is a promise with a bound: served at once, refreshed once, never instead of better."""

import asyncio
import contextvars
from typing import Any

import pytest
from starlette.types import Message, Scope

from cachemw.stores.memory import MemoryStore
from cachemw.testing.clock import FakeClock
from cachemw.testing.gate import Gate
from cachemw.testing.origin import START
from tests.caching.caches import FRESH, Cached, cached

pytestmark = pytest.mark.anyio

SWR: dict[str, Any] = {"stale_while_revalidate": "1m", "jitter": 0}
SIE: dict[str, Any] = {"stale_if_error": "1h", "jitter": 0}


async def stale_cache(**policy: Any) -> Cached:
    """With an entry that was fresh for a minute, one second ago."""
    cache = cached(**policy)
    cache.origin.answers_once("old", headers=FRESH)
    await cache.get("/")
    cache.clock.advance("61s")
    return cache


async def test_the_stale_entry_comes_at_once_and_is_refreshed_once() -> None:
    cache, gate = await stale_cache(**SWR), Gate()
    cache.origin.answers(gate, START, "new", headers=FRESH)
    for _ in range(5):
        response = await cache.get("/")
        assert (response.body, response.cache) == (b"old", "stale")
        assert response.detail == "stale-while-revalidate"
    await gate.reached()
    gate.open()
    await cache.settle()
    response = await cache.get("/")
    assert (response.body, response.cache) == (b"new", "hit")
    assert cache.origin.called(2)


async def test_a_whole_fleet_refreshes_once() -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    workers = [cached(store=store, clock=clock, **SWR) for _ in range(4)]
    gate = Gate()
    workers[0].origin.answers_once("old", headers=FRESH)
    await workers[0].get("/")
    clock.advance("61s")
    for worker in workers:
        worker.origin.answers(gate, START, "new", headers=FRESH)
    for _ in range(3):
        assert {(await worker.get("/")).body for worker in workers} == {b"old"}
    await gate.reached()
    gate.open()
    for worker in workers:
        await worker.settle()
    assert sum(worker.origin.calls for worker in workers) == 2
    assert {(await worker.get("/")).body for worker in workers} == {b"new"}


async def test_the_promise_ends() -> None:
    cache = await stale_cache(**SWR)
    cache.clock.advance("1m")
    cache.origin.answers("new", headers=FRESH)
    response = await cache.get("/")
    assert (response.body, response.cache) == (b"new", "miss")


secret = contextvars.ContextVar("secret", default="")


async def test_a_refresh_is_nobodys_request() -> None:
    cache = await stale_cache(credentials="strip", **SWR)
    seen: list[str] = []
    cache.origin.answers(lambda scope: seen.append(secret.get()), START, "new", headers=FRESH)
    cache.middleware.engine.app_state = {"db": 1}
    found_out = {"user": "alice", "account": "alice's", "db": 1}
    cache.client._scope = {"state": found_out, "user": "alice", "auth": "x"}
    secret.set("alice's")
    headers = {"authorization": "Bearer alice", "cookie": "sid=1", "if-none-match": '"x"'}
    assert (await cache.get("/", headers=headers)).body == b"old"
    await cache.settle()
    asked = cache.origin.last
    assert [asked.header(name) for name in headers] == [None, None, None]
    assert seen == [""]
    assert asked.scope["client"] != ("198.51.100.7", 4711)
    assert asked.scope["state"] == {"db": 1}
    assert "alice" not in repr(asked.scope)


@pytest.mark.parametrize(("credentials", "expected"), [("strip", ""), ("bypass", "de")])
async def test_context_variables_reach_a_fill_only_where_nobody_was_stripped(
    credentials: str, expected: str
) -> None:
    cache = await stale_cache(credentials=credentials, **SWR)
    seen: list[str] = []
    cache.origin.answers(lambda scope: seen.append(secret.get()), START, "new", headers=FRESH)
    secret.set("de")
    for path in ("/", "/cold"):
        await cache.get(path)
        await cache.settle()
    assert set(seen) == {expected}


@pytest.mark.parametrize(
    "pieces", [("oops",), (ValueError("oops"),), (START, ValueError("late"))], ids=repr
)
async def test_a_failed_refresh_keeps_the_entry_and_is_throttled(pieces: tuple[Any, ...]) -> None:
    cache = await stale_cache(**SWR)
    cache.origin.answers(*pieces, status=500)
    for _ in range(3):
        assert (await cache.get("/")).body == b"old"
        await cache.settle()
    assert cache.origin.called(2)  # the first one, and one refresh
    assert cache.middleware.engine.tally.counts.refreshes["failed"] == 1
    cache.clock.advance("2s")
    cache.origin.answers("new", headers=FRESH)
    assert (await cache.get("/")).body == b"old"
    await cache.settle()
    assert (await cache.get("/")).body == b"new"


async def test_a_refresh_that_may_not_be_kept_keeps_the_entry() -> None:
    cache = await stale_cache(**SWR)
    cache.origin.answers("mine", headers={"cache-control": "private"})
    for _ in range(3):
        assert (await cache.get("/")).body == b"old"
        await cache.settle()
    assert cache.origin.called(2)


async def test_a_refresh_has_a_deadline_of_its_own() -> None:
    cache, gate = await stale_cache(timeout=0.01, **SWR), Gate()
    cache.origin.answers(gate, START, "new", headers=FRESH)
    assert (await cache.get("/")).body == b"old"
    await gate.reached()
    await cache.settle()
    assert cache.origin.running == 0
    assert cache.middleware.engine.tally.counts.refreshes["failed"] == 1


async def test_a_refresh_asks_whether_it_has_changed() -> None:
    cache = cached(**SWR)
    cache.origin.answers_once("old", headers={**FRESH, "etag": '"v1"'})
    await cache.get("/")
    cache.clock.advance("61s")
    cache.origin.answers(START, "", status=304, headers={**FRESH, "etag": '"v1"'})
    assert (await cache.get("/")).cache == "stale"
    await cache.settle()
    assert cache.origin.last.header("if-none-match") == '"v1"'
    response = await cache.get("/")
    assert (response.body, response.cache, response.header("age")) == (b"old", "hit", "0")


async def test_the_app_confirms_an_entry() -> None:
    cache, headers = cached(), {"cache-control": "no-cache", "etag": '"v1"'}
    cache.origin.answers_once("old", headers={**headers, "x": "1"})
    await cache.get("/")
    cache.origin.answers("", status=304, headers={**headers, "x": "2"})
    response = await cache.get("/")
    assert (response.status, response.body, response.detail) == (200, b"old", "not-modified")
    assert response.header("x") == "2"


async def test_a_304_that_speaks_of_something_else_confirms_nothing() -> None:
    cache = cached()
    cache.origin.answers_once("old", headers={"cache-control": "no-cache", "etag": '"v1"'})
    await cache.get("/")
    cache.origin.answers_once("", status=304, headers={"etag": '"v2"'})
    cache.origin.answers("new", headers={"cache-control": "no-cache", "etag": '"v2"'})
    response = await cache.get("/")
    assert (response.status, response.body) == (200, b"new")
    assert cache.origin.last.header("if-none-match") is None


# --- refreshing ahead


async def test_late_in_its_life_an_entry_is_refreshed_ahead() -> None:
    cache = cached(refresh_ahead=0.8, jitter=0)
    cache.origin.answers_once("old", headers=FRESH)
    cache.origin.answers("new", headers=FRESH)
    await cache.get("/")
    cache.clock.advance("47s")
    assert (await cache.get("/")).body == b"old"
    await cache.settle()
    assert cache.origin.called_once()
    cache.clock.advance("1s")
    response = await cache.get("/")
    assert (response.body, response.cache) == (b"old", "hit")
    await cache.settle()
    assert (await cache.get("/")).body == b"new"


async def test_what_took_long_is_refreshed_earlier_by_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """XFetch: the chance grows with what the entry took to make."""
    cache = cached(refresh_ahead=0.99, jitter=0)
    cache.origin.answers_once(lambda scope: cache.clock.advance("5s"), START, "old", headers=FRESH)
    cache.origin.answers("new", headers=FRESH)
    await cache.get("/")
    cache.clock.advance("40s")
    monkeypatch.setattr("random.random", lambda: 0.5)
    await cache.get("/")
    await cache.settle()
    assert cache.origin.called_once()
    monkeypatch.setattr("random.random", lambda: 0.999)
    assert (await cache.get("/")).body == b"old"
    await cache.settle()
    assert cache.origin.called(2)
    assert (await cache.get("/")).body == b"new"


# --- instead of an error


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_stale_entry_stands_in_for_an_error_status(status: int) -> None:
    cache = await stale_cache(**SIE)
    cache.origin.answers("oops", status=status)
    response = await cache.get("/")
    assert (response.status, response.body, response.cache) == (200, b"old", "stale")
    assert response.detail == "stale-if-error"


@pytest.mark.parametrize("error", [ValueError("oops"), TimeoutError()], ids=repr)
async def test_a_stale_entry_stands_in_for_an_exception(error: Exception) -> None:
    cache = await stale_cache(**SIE)
    cache.origin.answers(error, START)
    assert (await cache.get("/")).body == b"old"


async def test_followers_get_the_stale_entry_too() -> None:
    cache, gate = await stale_cache(**SIE), Gate()
    cache.origin.answers(gate, START, "oops", status=500)
    askings = [cache.start("GET", "/") for _ in range(5)]
    await gate.reached()
    gate.open()
    assert {(await asking.response()).body for asking in askings} == {b"old"}
    assert cache.origin.called(2)


async def test_must_revalidate_is_obeyed() -> None:
    cache = cached(**SIE)
    cache.origin.answers_once("old", headers={"cache-control": "max-age=60, must-revalidate"})
    await cache.get("/")
    cache.clock.advance("61s")
    cache.origin.answers("oops", status=500)
    assert (await cache.get("/")).status == 500


async def test_an_app_that_is_slow_is_not_waited_for_and_its_answer_is_kept() -> None:
    cache, gate = await stale_cache(soft_timeout=0.005, **SIE), Gate()
    cache.origin.answers(gate, START, "new", headers=FRESH)
    leader, follower = cache.start("GET", "/"), cache.start("GET", "/")
    for asking in (leader, follower):
        response = await asking.response()
        assert (response.body, response.cache) == (b"old", "stale")
    gate.open()
    await cache.settle()
    response = await cache.get("/")
    assert (response.body, response.cache) == (b"new", "hit")
    assert cache.origin.called(2)


@pytest.mark.parametrize("age", ["61s", "2h"])
async def test_without_anything_to_serve_instead_a_slow_app_is_waited_for(age: str) -> None:
    cache, gate = cached(soft_timeout=0.001, **SIE), Gate()
    if age == "2h":  # an entry that may be confirmed, but not stand in any more
        cache.origin.answers_once("old", headers={**FRESH, "etag": '"v1"'})
        await cache.get("/")
        cache.clock.advance("2h")
    cache.origin.answers(gate, START, "new", headers=FRESH)
    asking = cache.start("GET", "/")
    await gate.reached()
    await asyncio.wait([asking._task], timeout=0.02)
    assert not asking.is_done
    gate.open()
    assert (await asking.response()).body == b"new"


async def test_a_slow_answer_that_may_not_be_kept_reaches_nobody() -> None:
    cache, gate = await stale_cache(soft_timeout=0.005, **SIE), Gate()
    cache.origin.answers(gate, START, "mine", headers={"cache-control": "private"})
    asking = cache.start("GET", "/")
    assert (await asking.response()).body == b"old"
    gate.open()
    await cache.settle()
    assert asking.so_far.body == b"old"


# --- soft purges


@pytest.mark.parametrize("vary", [{}, {"vary": "accept"}])
@pytest.mark.parametrize("how", ["tag", "url"])
async def test_softly_purged_is_stale(how: str, vary: dict[str, str]) -> None:
    cache = cached(tags=["shop"], **SWR)
    cache.origin.answers_once("old", headers={**FRESH, **vary})
    cache.origin.answers("new", headers={**FRESH, **vary})
    await cache.get("/")
    for _ in range(2):  # twice is no more than once
        if how == "tag":
            await cache.keeper.purge_tags([b"shop"], soft=True)
        else:
            assert await cache.keeper.purge_resource(primary(cache), soft=True)
    response = await cache.get("/")
    assert (response.body, response.cache, response.detail) == (b"old", "stale", "soft-purged")
    await cache.settle()
    response = await cache.get("/")
    assert (response.body, response.cache) == (b"new", "hit")


def primary(cache: Cached) -> bytes:
    """The key of the one resource there is."""
    store = cache.store
    assert isinstance(store, MemoryStore)
    keys = [key for key in store.keyspace._items if key.startswith(b"e:")]
    return keys[0][3:35]


async def test_a_fill_that_began_before_a_soft_purge_is_not_kept_as_fresh() -> None:
    cache, gate = cached(**SWR), Gate()
    cache.origin.answers_once("older", headers=FRESH)
    await cache.get("/")
    cache.clock.advance("61s")
    cache.origin.answers_once(gate, START, "old", headers=FRESH)
    cache.origin.answers("new", headers=FRESH)
    await cache.get("/")
    await gate.reached()
    await cache.keeper.purge_resource(primary(cache), soft=True)
    gate.open()
    await cache.settle()
    assert (await cache.get("/")).cache == "stale"


async def test_variants_that_were_softly_purged_are_refreshed_one_by_one() -> None:
    cache = cached(**SWR)
    cache.origin.answers("old", headers={**FRESH, "vary": "accept"})
    kinds = ({"accept": "a/a"}, {"accept": "b/b"})
    for kind in kinds:
        await cache.get("/", headers=kind)
    await cache.keeper.purge_resource(primary(cache), soft=True)
    cache.origin.answers("new", headers={**FRESH, "vary": "accept"})
    assert (await cache.get("/", headers=kinds[0])).cache == "stale"
    await cache.settle()
    assert (await cache.get("/", headers=kinds[0])).body == b"new"
    assert (await cache.get("/", headers=kinds[1])).cache == "stale"


# --- the end


async def test_refreshes_are_drained_when_the_app_shuts_down() -> None:
    cache, gate = await stale_cache(**SWR), Gate()
    cache.origin.answers(gate, START, "new", headers=FRESH)
    await cache.get("/")
    await gate.reached()
    draining = asyncio.create_task(cache.middleware.engine.flights.drain(5))
    await asyncio.sleep(0)
    assert not draining.done()
    gate.open()
    await draining
    assert (await cache.get("/")).body == b"new"


async def test_what_does_not_end_in_time_is_ended() -> None:
    cache, gate = await stale_cache(**SWR), Gate()
    cache.origin.answers(gate, START, "new", headers=FRESH)
    await cache.get("/")
    await gate.reached()
    await cache.middleware.engine.flights.drain(0.01)
    assert cache.origin.running == 0
    assert (await cache.get("/")).body == b"old"


async def test_traces_for_outer_layers_are_left() -> None:
    cache = cached()

    def route(scope: Scope) -> None:
        scope["route"], scope["endpoint"], scope["path_params"] = "r", "e", {}

    cache.origin.answers_once(route, START, "x", headers=FRESH)
    cache.origin.answers_once(route, START, "x", headers={"cache-control": "private"})
    cache.origin.answers_once(route, ValueError("x"), START)
    for path in ("/kept", "/direct", "/failed"):
        asking = cache.start("GET", path)
        send, scope = asking._send, asking.scope

        async def outer(message: Message, send: Any = send, scope: Scope = scope) -> None:
            assert "route" in scope  # where instrumentation looks, when the response begins
            await send(message)

        asking._send = outer  # type: ignore[method-assign]
        await asyncio.wait([asking._task])
        assert asking._task.exception() is None or path == "/failed"
        assert (asking.scope["route"], asking.scope["endpoint"]) == ("r", "e")
