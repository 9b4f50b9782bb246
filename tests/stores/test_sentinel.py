"""Sentinels: the primary is whom they name now, and a hung sentinel costs nothing."""

import asyncio

import pytest
import redis.asyncio.sentinel

from cachemw.errors import ConfigurationError, StoreUnavailable
from cachemw.stores.redis import RedisStore
from cachemw.testing import FaultProxy
from tests.servers import Sentinels
from tests.stores.conftest import Opener

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("sentinel"), pytest.mark.sentinel]


async def until_written(store: RedisStore) -> set[str]:
    """Write until it works. The reasons why it did not."""
    reasons: set[str] = set()
    for _ in range(1500):
        try:
            await store.set(b"k", b"v", ttl=60_000)
        except StoreUnavailable as error:
            reasons.add(error.reason)
            await asyncio.sleep(0.02)
        else:
            return reasons
    pytest.fail(f"no write worked: {reasons}")


async def test_h4_after_a_failover_the_new_primary_is_asked(
    sentinel: Sentinels, opened: Opener
) -> None:
    store = opened(sentinel.url, deadline="300ms")
    before = await store.time()
    sentinel.primary().kill()
    assert await until_written(store) <= {"connection", "timeout", "breaker-open", "refused"}
    assert await store.get(b"k") == b"v"
    assert await store.time() > before


async def test_h4_a_frozen_primary_is_left_for_the_new_one(
    sentinel: Sentinels, opened: Opener
) -> None:
    store = opened(sentinel.url, deadline="300ms")
    await until_written(store)
    frozen = sentinel.primary()
    frozen.stop()
    await until_written(store)
    # Not every sentinel knows by now whom the others have chosen; the server itself does.
    others = [each for each in sentinel.data if each is not frozen]
    assert "master" in [each.info("replication")["role"] for each in others]


async def test_h4_a_sentinel_that_hangs_costs_nothing(sentinel: Sentinels, opened: Opener) -> None:
    sentinel.sentinels[0].stop()
    store = opened(sentinel.url, deadline="800ms")  # less than it would take to wait for it
    await store.set(b"k", b"v", ttl=60_000)
    sentinel.sentinels[0].cont()


async def test_a_sentinel_that_has_not_heard_yet_is_not_believed(
    sentinel: Sentinels, opened: Opener
) -> None:
    replica = next(each for each in sentinel.data if each is not sentinel.primary())
    old_news = b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%d\r\n" % replica.port
    async with FaultProxy(f"redis://127.0.0.1:{sentinel.sentinels[0].port}") as proxy:
        proxy.change_next_reply(lambda _: [old_news], to="SENTINEL")
        store = opened(f"redis+sentinel://127.0.0.1:{proxy.port}/mymaster")
        with pytest.raises(StoreUnavailable, match=f"{replica.port} is not the primary"):
            await store.get(b"k")
        await store.set(b"k", b"v", ttl=60_000)


async def test_one_sentinel_that_is_there_is_enough(sentinel: Sentinels, opened: Opener) -> None:
    for absent in sentinel.sentinels[:2]:
        absent.kill()
    store = opened(sentinel.url)
    await store.set(b"k", b"v", ttl=60_000)


async def test_a_service_that_nobody_knows_is_named(sentinel: Sentinels, opened: Opener) -> None:
    store = opened(sentinel.url.replace("mymaster", "myservant"))
    with pytest.raises(StoreUnavailable, match="knows no 'myservant'"):
        await store.get(b"k")


async def test_a_sentinel_client_is_taken_for_its_addresses(sentinel: Sentinels) -> None:
    hosts = [("127.0.0.1", each.port) for each in sentinel.sentinels]
    manager = redis.asyncio.sentinel.Sentinel(hosts)
    store = RedisStore(manager.master_for("mymaster"), deadline="5s")
    await store.set(b"k", b"v", ttl=60_000)
    assert await store.get(b"k") == b"v"
    await store.aclose()
    with pytest.raises(ConfigurationError, match="master_for"):
        RedisStore(manager.slave_for("mymaster"))
