"""One run of the app for everybody who asks for the same, and nobody worse off for it."""

from typing import Any

import pytest
from starlette.types import Scope

from cachemw.stores.memory import MemoryStore
from cachemw.testing.client import Asking, Response
from cachemw.testing.clock import FakeClock
from cachemw.testing.gate import Gate
from cachemw.testing.origin import START
from tests.caching.caches import FRESH, Cached, cached

pytestmark = pytest.mark.anyio


async def responses(askings: list[Asking]) -> list[Response]:
    return [await asking.response() for asking in askings]


def crowd(cache: Cached, number: int = 50, **more: Any) -> list[Asking]:
    return [cache.start("GET", "/", **more) for _ in range(number)]


async def test_fifty_cold_requests_are_one_run() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers("one", gate, "two", headers=FRESH)
    askings = crowd(cache)
    for asking in askings:
        assert await asking.chunk() == b"one"  # while it is being made
    gate.open()
    answers = await responses(askings)
    assert {answer.body for answer in answers} == {b"onetwo"}
    assert [answer.is_collapsed for answer in answers] == [False] + [True] * 49
    assert cache.origin.called_once()


async def test_whoever_comes_while_it_flows_gets_all_of_it() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers("one", gate, "two", headers=FRESH)
    first = cache.start("GET", "/")
    await first.chunk()
    second = cache.start("GET", "/")
    assert await second.chunk() == b"one"
    gate.open()
    assert (await second.response()).body == b"onetwo"
    assert (await first.response()).body == b"onetwo"
    assert cache.origin.called_once()


async def test_without_coalescing_everybody_asks() -> None:
    cache, gate = cached(coalesce=False), Gate()
    cache.origin.answers(gate, START, "x", headers=FRESH)
    askings = crowd(cache, 5)
    await gate.reached(5)
    gate.open()
    assert {answer.body for answer in await responses(askings)} == {b"x"}


async def test_who_gets_what_was_made_for_another_is_told_its_age() -> None:
    """RFC 9111 §4: caches further out must not take it for made just now."""
    cache, gate = cached(), Gate()
    cache.origin.answers(START, "first", gate, "rest", headers={**FRESH, "age": "7", "etag": '"a"'})
    leader = cache.start("GET", "/")
    await leader.chunk()
    cache.clock.advance("3s")
    follower = cache.start("GET", "/")
    knowing = cache.start("GET", "/", headers={"if-none-match": '"a"'})
    assert [(await one.head()).status for one in (follower, knowing)] == [200, 304]
    gate.open()
    first, second, third = await responses([leader, follower, knowing])
    assert [one.is_collapsed for one in (first, second, third)] == [False, True, True]
    assert [one.header("age") for one in (first, second, third)] == ["7", "10", "10"]


async def test_a_leader_that_fails_costs_its_followers_only_their_own_run() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers_once(gate, START, ValueError("first"))
    cache.origin.answers("fine", headers=FRESH)
    leader, *others = crowd(cache, 5)
    await gate.reached()
    gate.open()
    with pytest.raises(ValueError, match="first"):
        await leader.response()
    assert {answer.body for answer in await responses(others)} == {b"fine"}


@pytest.mark.parametrize(
    "headers",
    [
        {"cache-control": "private, max-age=60"},
        {"cache-control": "no-store"},
        {"set-cookie": "a=b", **FRESH},
        {"vary": "*", **FRESH},
    ],
)
async def test_what_is_one_clients_own_is_not_given_to_another(headers: dict[str, str]) -> None:
    cache, together = cached(), Gate()
    number = iter(range(100))

    async def own(scope: Scope, receive: Any, send: Any) -> None:
        mine = next(number)
        if mine:  # all but the first at once, or one of them would wait for ever
            await together.pass_through()
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": b"%d" % mine})

    cache.middleware.engine.app = own
    askings = crowd(cache, 20)
    await together.reached(19)
    together.open()
    answers = await responses(askings)
    assert sorted(int(answer.body) for answer in answers) == list(range(20))


async def test_uncacheable_keys_are_remembered_and_never_queue() -> None:
    """Also by a worker that has not met them: nobody waits for an answer that is not kept."""
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    here, there = cached(store=store), cached(store=store)
    here.origin.answers("mine", headers={"cache-control": "private"})
    await here.get("/")
    gate = Gate()
    there.origin.answers(gate, START, "mine", headers={"cache-control": "private"})
    askings = crowd(there, 10)
    await gate.reached(10)
    gate.open()
    for answer in await responses(askings):
        assert answer.body == b"mine"


async def test_a_policy_that_always_varies_remembers_the_uncacheable_too() -> None:
    cache, gate = cached(vary_by="x-plan"), Gate()
    cache.origin.answers_once("mine", headers={"cache-control": "private"})
    await cache.get("/", headers={"x-plan": "gold"})
    cache.origin.answers(gate, START, "mine", headers={"cache-control": "private"})
    askings = crowd(cache, 5, headers={"x-plan": "gold"})
    await gate.reached(5)
    gate.open()
    await responses(askings)


async def test_the_uncacheable_heals() -> None:
    cache = cached()
    cache.origin.answers_once("mine", headers={"cache-control": "private"})
    cache.origin.answers("ours", headers=FRESH)
    assert not (await cache.get("/")).is_stored
    assert (await cache.get("/")).is_stored
    assert (await cache.get("/")).cache == "hit"


async def test_an_error_does_not_make_a_key_uncacheable() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers_once("oops", status=500)
    assert (await cache.get("/")).status == 500
    cache.origin.answers(gate, START, "fine", headers=FRESH)
    askings = crowd(cache, 5)
    await gate.reached()
    gate.open()
    await responses(askings)
    assert cache.origin.called(2)


async def test_variants_of_a_cold_key_each_get_their_own() -> None:
    cache = cached()

    async def echo(scope: Scope, receive: Any, send: Any) -> None:
        cache.origin.requests.append(None)  # type: ignore[arg-type]
        language = dict(scope["headers"])[b"accept-language"]
        headers = [(b"vary", b"Accept-Language"), (b"cache-control", b"max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": language, "more_body": True})
        await gate.pass_through()
        await send({"type": "http.response.body", "body": b"!"})

    gate = Gate()
    cache.middleware.engine.app = echo
    languages = ["de", "fr", "it"] * 5
    askings = [cache.start("GET", "/", headers={"accept-language": each}) for each in languages]
    await gate.reached(3)
    gate.open()
    answers = await responses(askings)
    assert [answer.body.decode() for answer in answers] == [each + "!" for each in languages]
    assert cache.origin.calls == 3
    hits = [await cache.get("/", headers={"accept-language": each}) for each in languages]
    assert {hit.cache for hit in hits} == {"hit"}


async def test_clients_who_want_less_than_all_of_it_join_too() -> None:
    cache, gate = cached(), Gate()
    cache.origin.answers(gate, START, "body", headers={**FRESH, "etag": '"v1"'})
    plain = cache.start("GET", "/")
    head = cache.start("HEAD", "/")
    knowing = cache.start("GET", "/", headers={"if-none-match": '"v1"'})
    await gate.reached()
    gate.open()
    assert (await plain.response()).body == b"body"
    assert (await head.response()).body == b""
    assert (await head.response()).header("etag") == '"v1"'
    assert (await knowing.response()).status == 304
    assert cache.origin.called_once()


async def test_a_head_request_makes_what_a_get_can_use() -> None:
    cache = cached()
    cache.origin.answers("body", headers=FRESH)
    assert (await cache.client.head("/")).body == b""
    assert cache.origin.last.method == "GET"
    assert (await cache.get("/")).body == b"body"
    assert cache.origin.called_once()


async def test_a_range_of_something_cold_is_not_made_to_wait() -> None:
    cache = cached()
    cache.origin.answers("body", headers=FRESH)
    response = await cache.get("/", headers={"range": "bytes=0-1"})
    assert (response.cache, response.detail) == ("miss", "partial")
    assert cache.origin.last.header("range") == "bytes=0-1"


async def test_a_whole_fleet_asks_once() -> None:
    store = MemoryStore()
    workers = [cached(store=store) for _ in range(4)]
    gate = Gate()
    for worker in workers:
        worker.origin.answers("one", gate, "two", headers=FRESH)
    askings = [asking for worker in workers for asking in crowd(worker, 10)]
    await gate.reached()
    gate.open()
    answers = await responses(askings)
    assert {answer.body for answer in answers} == {b"onetwo"}
    assert sum(worker.origin.calls for worker in workers) == 1


async def test_who_waits_too_long_for_another_worker_asks_by_himself() -> None:
    store = MemoryStore()
    slow, other = cached(store=store), cached(store=store, lease_wait=0.02)
    gate = Gate()
    slow.origin.answers(gate, START, "slow", headers=FRESH)
    other.origin.answers("other", headers=FRESH)
    asking = slow.start("GET", "/")
    await gate.reached()
    response = await other.get("/")
    assert (response.body, response.detail) == (b"other", "lease-timeout")
    assert not response.is_stored
    gate.open()
    assert (await asking.response()).is_stored


async def test_the_lease_of_a_dead_worker_ends_by_itself() -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    dead, alive = cached(store=store), cached(store=store, lease_wait=0)
    gate = Gate()
    dead.origin.answers(gate, START, "never")
    asking = dead.start("GET", "/")
    await gate.reached()
    clock.advance("6s")
    alive.origin.answers("alive", headers=FRESH)
    assert (await alive.get("/")).is_stored
    # And should it rise again, it has nothing to say any more.
    dead.origin.answers("x")
    gate.open()
    assert not (await asking.response()).is_stored
    assert (await alive.get("/")).body == b"alive"


async def test_the_lease_of_a_slow_worker_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    from cachemw.caching import tenure

    monkeypatch.setattr(tenure, "RENEW_AFTER", 0.001)
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    slow, gate = cached(store=store), Gate()
    slow.origin.answers(gate, START, "slow", headers=FRESH)
    asking = slow.start("GET", "/")
    await gate.reached()
    keeper, renewed = slow.keeper, Gate()
    renew = keeper.renew

    async def noted(*args: Any) -> bool:
        stands: bool = await renew(*args)
        renewed.arrivals += 1
        renewed._arrived.set()
        return stands

    keeper.renew = noted
    for turn in range(1, 4):
        clock.advance("4s")
        await renewed.reached(renewed.arrivals + 2)
        assert turn
    gate.open()
    assert (await asking.response()).is_stored


# --- purges and those who join


@pytest.mark.parametrize("how", ["tag", "url"])
async def test_nobody_joins_what_began_before_a_purge(how: str) -> None:
    cache, gate = cached(tags=["shop"]), Gate()
    cache.origin.answers_once("old", gate, "er", headers=FRESH)
    cache.origin.answers("new", headers=FRESH)
    before = cache.start("GET", "/")
    await gate.reached()
    if how == "tag":
        await cache.keeper.purge_tags([b"shop"])
    else:
        fills = cache.middleware.engine.flights._fills
        await cache.keeper.purge_resource(next(iter(fills)))
    response = await cache.get("/")
    assert (response.body, response.is_stored) == (b"new", True)
    gate.open()
    assert (await before.response()).body == b"older"
    assert (await cache.get("/")).body == b"new"
    assert cache.origin.called(2)


async def test_nobody_joins_what_a_purge_covers_by_a_tag_that_only_the_handler_knew() -> None:
    from starlette.requests import Request

    from cachemw.caching.marks import CacheContext

    cache, gate = cached(), Gate()

    def tag(scope: Scope) -> None:
        CacheContext.of(Request(scope)).tag("user:1")

    cache.origin.answers_once(tag, START, "old", gate, "er", headers=FRESH)
    cache.origin.answers("new", headers=FRESH)
    before = cache.start("GET", "/")
    await gate.reached()
    await cache.keeper.purge_tags([b"user:1"])
    assert (await cache.get("/")).body == b"new"
    gate.open()
    assert (await before.response()).body == b"older"
    assert (await cache.get("/")).body == b"new"
