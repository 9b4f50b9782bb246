"""What a lease is given for where nothing was seen before it was asked for, and first entries."""

import asyncio
from collections.abc import Sequence

import pytest

from cachemw import Cache, CachePolicy
from cachemw.caching.keeper import CLAIM_PAUSES, Keeper
from cachemw.caching.reasons import Reason
from cachemw.caching.resource import Resource
from cachemw.caching.stamps import BUCKETS, CLAIM_LIVES, ENSURE, MARK_LIVES, STAMP_LIVES, mark_key
from cachemw.messages import RequestHead
from cachemw.scripts import Reply
from cachemw.stores import MemoryStore, open_store
from cachemw.stores.base import Store, together
from tests.caching.caches import FRESH, cached

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("chosen", [(), (b"somebody",)], ids=["the resource", "a variant"])
async def test_who_saw_nothing_is_to_look_again_at_a_refusal(chosen: tuple[bytes, ...]) -> None:
    keeper = Keeper(MemoryStore())
    request = RequestHead("GET", "http", b"localhost", b"/", b"")
    resource = Resource(request, CachePolicy(ttl="1m"), b"0123456789abcdef", chosen, ())
    variant = resource.variant(())
    held = await keeper.lease(resource, variant, is_first=True)
    assert held is not None
    await keeper.give_back(resource, held, variant, Reason.NO_STORE)
    assert await keeper.lease(resource, variant, is_first=True) is None
    assert await keeper.lease(resource, variant) is not None


async def marking(store: Store, claim: bytes) -> Sequence[Reply]:
    """One of the two steps in which another process puts up the marks of all buckets."""
    now = b"%d" % await store.time()
    args = (now, b"%d" % MARK_LIVES, b"%d" % STAMP_LIVES, claim)
    marks = [mark_key(b"s%d" % number) for number in range(BUCKETS)]
    return await together([store.run(ENSURE, (mark,), args) for mark in marks])


async def test_first_entries_count_where_another_process_is_about_to_put_up_the_marks(
    redis_url: str,
) -> None:
    store = open_store(redis_url)
    keeper = Keeper(store)
    assert set(await marking(store, b"another")) == {0}
    ready = asyncio.ensure_future(keeper.get_ready())
    for _ in range(6):  # trips: more than its claim and its marks take
        await store.time()
    assert not ready.done()
    assert set(await marking(store, b"another")) == {1}
    await ready
    assert await keeper.ensure([b"tag"], 60.0)
    await store.aclose()


async def test_who_waits_for_nobody_does_not_wait_for_a_claim(redis_url: str) -> None:
    store = open_store(redis_url)
    keeper = Keeper(store)
    await marking(store, b"another")
    await keeper.get_ready(patience=0)
    assert not await keeper.ensure([b"tag"], 60.0)
    assert set(await marking(store, b"another")) == {1}
    await store.aclose()


async def test_no_lease_wait_is_no_wait_for_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cachemw.caching.keeper.CLAIM_PAUSES", (0, 0, 3600))
    store = MemoryStore()
    page = cached(store=store, lease_wait=0)
    page.origin.answers("hello", headers=FRESH)
    await marking(store, b"another")
    async with asyncio.timeout(60):  # an hour otherwise
        assert (await page.get("/")).body == b"hello"
        assert await Cache(store).get_or_set("key", lambda: 1, "1m", lease_wait=0) == 1


async def test_a_process_that_died_over_its_claim_holds_up_first_entries_for_a_second(
    redis_url: str,
) -> None:
    store = open_store(redis_url)
    keeper = Keeper(store)
    await marking(store, b"a dead one")
    assert sum(CLAIM_PAUSES[:-1]) > CLAIM_LIVES / 1000  # and one more round for the marks
    await keeper.get_ready()
    assert await keeper.ensure([b"tag"], 60.0)
    await store.aclose()
