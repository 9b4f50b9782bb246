"""What is found, in how many trips, and how many variants there may be."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Scope

from cachemw.caching.marks import CacheContext
from cachemw.stores.memory import MemoryStore
from cachemw.testing.origin import START
from tests.caching.caches import FRESH, Cached, cached

pytestmark = pytest.mark.anyio


def counting(cache: Cached) -> list[int]:
    """The trips that read, each with its number of keys."""
    trips: list[int] = []
    store: Any = cache.store
    read = store.get_many

    def counted(keys: Any) -> Any:
        trips.append(len(keys))
        return read(keys)

    store.get_many = counted
    return trips


async def test_a_hit_is_one_trip_with_dynamic_tags_and_vary_too() -> None:
    store = MemoryStore()
    maker, reader = cached(store=store), cached(store=store)

    def tag(scope: Scope) -> None:
        CacheContext.of(Request(scope)).tag("dynamic")

    maker.origin.answers(tag, START, "x", headers={**FRESH, "vary": "accept"})
    await maker.get("/", headers={"accept": "a/a"})
    trips = counting(reader)
    for expected in (3, 1, 1):  # signpost, variant, tag; from then on all at once
        trips.clear()
        assert (await reader.get("/", headers={"accept": "a/a"})).cache == "hit"
        assert len(trips) == expected


async def test_tags_that_tell_who_is_asking_cost_no_second_trip() -> None:
    cache = cached(credentials="identity", tags=["user:{identity}"])
    cache.origin.answers("x", headers=FRESH)
    users = [{"authorization": "a"}, {"authorization": "b"}]
    for user in users:
        await cache.get("/", headers=user)
    trips = counting(cache)
    for user in (*users, *users):
        assert (await cache.get("/", headers=user)).cache == "hit"
    assert len(trips) == 4


async def test_what_was_kept_for_everybody_is_not_for_one_who_is_told_apart() -> None:
    """A new policy for the same URL must not serve what the old one has kept."""
    store = MemoryStore()
    before = cached(store=store, credentials="strip")
    after = cached(store=store, credentials="identity")
    before.origin.answers("everybody's", headers=FRESH)
    after.origin.answers("mine", headers=FRESH)
    await before.get("/")
    user = {"authorization": "a"}
    assert (await after.get("/", headers=user)).body == b"mine"
    assert (await after.get("/", headers=user)).cache == "hit"


async def test_there_are_no_more_variants_than_may_be() -> None:
    cache = cached(max_variants=2, jitter=0)
    cache.origin.answers("x", headers={**FRESH, "vary": "accept"})
    kinds = [{"accept": f"a/{number}"} for number in range(3)]
    for kind in kinds:  # the one that ends first makes room
        assert (await cache.get("/", headers=kind)).is_stored
        cache.clock.advance("1s")
    entries = [key async for batch in cache.keeper._store.scan(b"e:*:*") for key in batch]
    assert len(entries) == 2
    assert [(await cache.get("/", headers=kind)).cache for kind in kinds[:0:-1]] == ["hit", "hit"]
    # Making one again is not one more, and those that have ended make room.
    assert (await cache.get("/", headers=kinds[0])).cache == "miss"
    assert (await cache.get("/", headers=kinds[2])).cache == "hit"
    cache.clock.advance("61s")
    for kind in kinds[1:]:
        assert (await cache.get("/", headers=kind)).is_stored
    assert [(await cache.get("/", headers=kind)).cache for kind in kinds[1:]] == ["hit", "hit"]


async def test_a_purge_of_the_url_covers_all_variants() -> None:
    cache = cached()
    cache.origin.answers("old", headers={**FRESH, "vary": "accept"})
    kinds = [{"accept": f"a/{number}"} for number in range(3)]
    for kind in kinds:
        await cache.get("/", headers=kind)
    cache.origin.answers("gone", status=204)
    await cache.client.request("DELETE", "/")
    cache.origin.answers("new", headers={**FRESH, "vary": "accept"})
    assert {(await cache.get("/", headers=kind)).body for kind in kinds} == {b"new"}


async def test_when_vary_grows_nobody_gets_the_wrong_variant() -> None:
    cache = cached()
    cache.origin.answers("a", headers={**FRESH, "vary": "accept"})
    await cache.get("/", headers={"accept": "a/a", "x": "1"})
    cache.origin.answers("b1", headers={**FRESH, "vary": "x"})
    await cache.get("/", headers={"accept": "b/b", "x": "1"})
    cache.origin.answers("b2", headers={**FRESH, "vary": "x"})
    assert (await cache.get("/", headers={"accept": "b/b", "x": "2"})).body == b"b2"
    assert (await cache.get("/", headers={"accept": "b/b", "x": "1"})).body == b"b1"
    # Under the new signpost the old variant is nobody's.
    assert (await cache.get("/", headers={"accept": "a/a", "x": "1"})).body == b"b2"
    assert (await cache.get("/", headers={"accept": "b/b", "x": "2"})).cache == "hit"


async def test_garbage_is_a_miss() -> None:
    cache = cached()
    cache.origin.answers("x", headers=FRESH)
    await cache.get("/")
    store = cache.store
    assert isinstance(store, MemoryStore)
    key = next(key for key in store.keyspace._items if key.startswith(b"e:"))
    await store.set(key, b"\1Egarbage", ttl=60_000)
    response = await cache.get("/")
    assert (response.cache, response.detail, response.is_stored) == ("miss", "unreadable", True)
    assert (await cache.get("/")).cache == "hit"
