"""Values kept near: without a trip while the server reports changes, and never beyond that."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from cachemw.errors import StoreUnavailable
from cachemw.stores import RedisStore, open_store
from cachemw.stores.near import MAX_AGE, NearStore
from cachemw.stores.watch import SILENCE
from cachemw.telemetry.counters import BOUNDS
from cachemw.testing.faultproxy import FaultProxy
from tests.servers import Cluster, Sentinels, Server
from tests.stores.scripts import WRITE

pytestmark = pytest.mark.anyio

KEY = b"e:{page}"


async def until(true: Callable[[], bool]) -> None:
    """Wait for what the server's reports bring about."""
    with anyio.fail_after(10):
        while not true():  # noqa: ASYNC110 - the server's reports set no event of ours
            await anyio.sleep(0.002)


def opened(url: str) -> RedisStore:
    store = open_store(url)
    assert isinstance(store, RedisStore)
    return store


async def awake(near: NearStore) -> None:
    await near.open()
    await until(near.is_awake)


async def written(store: RedisStore, value: bytes) -> None:
    """Write until there is a primary that takes it."""
    with anyio.fail_after(30):
        while True:
            try:
                return await store.set(KEY, value, ttl=60_000)
            except StoreUnavailable:
                await anyio.sleep(0.02)


async def put(near: NearStore, value: bytes) -> None:
    await near.set(KEY, value, ttl=60_000)


@pytest.fixture
async def near(server: Server) -> AsyncIterator[NearStore]:
    near = NearStore(opened(server.url))
    await awake(near)
    yield near
    await near.aclose()


@pytest.fixture
async def other(server: Server) -> AsyncIterator[RedisStore]:
    """Another worker, as far as the server can tell."""
    store = opened(server.url)
    yield store
    await store.aclose()


def reads(server: Server) -> int:
    """How many reads the server has answered."""
    stats = server.info("commandstats").get("cmdstat_mget", "calls=0")
    return int(str(stats).partition("calls=")[2].partition(",")[0])


async def test_the_second_read_makes_no_trip(near: NearStore, server: Server) -> None:
    await near.set(KEY, b"1", ttl=60_000)
    assert await near.get(KEY) == b"1"
    before = reads(server)
    assert [await near.get(KEY) for _ in range(10)] == [b"1"] * 10
    assert reads(server) == before


async def test_what_is_absent_is_kept_too(near: NearStore, server: Server) -> None:
    assert await near.get(KEY) is None
    before = reads(server)
    assert await near.get(KEY) is None
    assert reads(server) == before


async def test_what_others_change_is_forgotten(near: NearStore, other: RedisStore) -> None:
    await other.set(KEY, b"old", ttl=60_000)
    assert await near.get(KEY) == b"old"
    reports = near.reports
    await other.set(KEY, b"new", ttl=60_000)
    await until(lambda: near.reports > reports)
    assert await near.get(KEY) == b"new"


@pytest.mark.parametrize("key", [KEY, b"s:{session}"])
async def test_what_a_prepared_script_writes_is_seen_at_once(near: NearStore, key: bytes) -> None:
    await near.set(key, b"old", ttl=60_000)
    assert await near.get(key) == b"old"
    write = near.prepare(WRITE, (key,), (near.sealed(key, b"new"),))
    writing = write()
    assert key not in near.keys
    await writing
    assert await near.get(key) == b"new"


async def test_flushing_the_server_forgets_all(near: NearStore, server: Server) -> None:
    await near.set(KEY, b"1", ttl=60_000)
    await near.get(KEY)
    reports = near.reports
    await anyio.to_thread.run_sync(server.ask, "FLUSHALL")
    await until(lambda: near.reports > reports)
    assert await near.get(KEY) is None


async def test_our_own_changes_are_seen_at_once(near: NearStore) -> None:
    for number in range(50):
        value = b"%d" % number
        await near.set(KEY, value, ttl=60_000)
        assert await near.get(KEY) == value
        assert await near.get(KEY) == value
    await near.delete([KEY])
    assert await near.get(KEY) is None


async def test_a_value_that_changes_while_it_is_read_is_not_kept(server: Server) -> None:
    async with FaultProxy(server.url) as proxy:
        near, other = NearStore(opened(proxy.url)), opened(server.url)
        await awake(near)
        # The reply is kept back, and with it the report; when both go on, the reply may be read
        # before the report on the other connection, or after it.
        for _ in range(20):
            reports = near.reports
            await other.set(KEY, b"old", ttl=60_000)
            await until(lambda reports=reports: near.reports > reports)  # type: ignore[misc]
            replies = proxy.replies
            proxy.hold()
            reading = asyncio.ensure_future(near.get(KEY))
            await proxy.until(lambda replies=replies: proxy.replies > replies)  # type: ignore[misc]
            await other.set(KEY, b"new", ttl=60_000)
            reports = near.reports
            proxy.release()
            await reading
            await until(lambda reports=reports: near.reports > reports)  # type: ignore[misc]
            assert await near.get(KEY) == b"new"
        await near.aclose()
        await other.aclose()


async def test_a_report_that_overtakes_its_reply_spoils_it(near: NearStore) -> None:
    await near.set(KEY, b"old", ttl=60_000)
    reading = asyncio.ensure_future(near.get(KEY))
    await asyncio.sleep(0)  # the question is on its way, the answer is not here
    near.report([near.store.prefix + KEY])
    assert await reading == b"old"
    assert KEY not in near.keys


async def test_a_frozen_server_is_not_believed(near: NearStore, server: Server) -> None:
    await near.set(KEY, b"1", ttl=60_000)
    assert await near.get(KEY) == b"1"
    loop = asyncio.get_running_loop()
    frozen_at = loop.time()
    server.stop()
    await until(lambda: not near.is_awake())
    assert loop.time() - frozen_at < 2.0 + 1.0  # the bound, and a machine with other things to do
    server.cont()
    await until(near.is_awake)
    assert await near.get(KEY) == b"1"


async def test_it_is_known_how_late_reports_are_at_most(server: Server) -> None:
    async with FaultProxy(server.url) as proxy:
        near = NearStore(opened(proxy.url))
        await awake(near)
        await until(lambda: near.lags.count > 0)
        proxy.delay(0.3)
        counted = near.lags.count
        await until(lambda: near.lags.count > counted + 1)
        assert sum(near.lags.buckets[BOUNDS.index(0.25) + 1 :]) >= 1
        assert near.is_awake()  # late, and heard all the same
        await near.aclose()


async def test_what_a_partition_hides_is_not_served(server: Server) -> None:
    async with FaultProxy(server.url) as proxy:
        near, other = NearStore(opened(proxy.url)), opened(server.url)
        await awake(near)
        await put(near, b"old")
        assert await near.get(KEY) == b"old"
        proxy.hold()
        await other.set(KEY, b"new", ttl=60_000)
        await until(lambda: not near.is_awake())
        assert near.at_hand([KEY]) is None
        proxy.release()
        await until(near.is_awake)
        assert await near.get(KEY) == b"new"
        await near.aclose()
        await other.aclose()


@pytest.mark.sentinel
@pytest.mark.xdist_group("sentinel")
async def test_after_a_failover_the_new_primary_is_watched(sentinel: Sentinels) -> None:
    near, other = NearStore(opened(sentinel.url)), opened(sentinel.url)
    await awake(near)
    await put(near, b"old")
    assert await near.get(KEY) == b"old"
    sentinel.primary().kill()
    await until(lambda: not near.is_awake())
    assert near.at_hand([KEY]) is None
    await written(other, b"new")
    with anyio.fail_after(30):
        while not near.is_awake():
            with contextlib.suppress(StoreUnavailable):
                await near.get(KEY)
            await anyio.sleep(0.01)
    assert await near.get(KEY) == b"new"
    await other.set(KEY, b"newer", ttl=60_000)
    await until(lambda: KEY not in near.keys)
    assert await near.get(KEY) == b"newer"
    await near.aclose()
    await other.aclose()


async def test_a_killed_watch_forgets_and_comes_back(near: NearStore, server: Server) -> None:
    await near.set(KEY, b"1", ttl=60_000)
    await near.get(KEY)
    await anyio.to_thread.run_sync(server.ask, "CLIENT", "KILL", "TYPE", "normal")
    await until(lambda: KEY not in near.keys)
    await until(near.is_awake)


async def test_what_is_asked_for_is_read_again_before_anybody_must_wait(
    near: NearStore, server: Server
) -> None:
    await near.set(KEY, b"1", ttl=60_000)
    await near.get(KEY)
    before, first = reads(server), near.keys[KEY]
    first.read_again = 0.0
    assert [near.at_hand([KEY]) for _ in range(3)] == [[b"1"]] * 3
    await until(lambda: near.keys.get(KEY) not in (None, first))
    assert reads(server) == before + 1
    assert near.keys[KEY].until > first.until


async def test_nothing_is_kept_longer_than_the_bound(near: NearStore) -> None:
    assert MAX_AGE < 2
    assert SILENCE < 2
    await near.set(KEY, b"1", ttl=60_000)
    await near.get(KEY)
    until_then = near.keys[KEY].until
    assert until_then <= asyncio.get_running_loop().time() + MAX_AGE


async def test_memory_is_bounded(near: NearStore) -> None:
    small = NearStore(near.store, max_bytes="64KiB")
    await awake(small)
    for number in range(200):
        key = b"e:{%d}" % number
        await small.set(key, b"x" * 1024, ttl=60_000)
        await small.get(key)
    assert 0 < small.bytes <= 64 * 1024
    assert small.bytes > 32 * 1024
    for watch in small.watches.values():
        await watch.aclose()


async def test_what_is_larger_than_all_of_it_pushes_nothing_out(near: NearStore) -> None:
    small = NearStore(near.store, max_bytes="64KiB")
    await awake(small)
    await put(small, b"small")
    await small.get(KEY)
    await small.set(b"e:{large}", bytes(64 * 1024), ttl=60_000)
    assert await small.get(b"e:{large}") == bytes(64 * 1024)
    assert list(small.keys) == [KEY]
    for watch in small.watches.values():
        await watch.aclose()


async def test_a_read_that_nobody_waits_for_leaves_nothing_behind(near: NearStore) -> None:
    near.get_many((KEY,))
    reports = near.reports
    await put(near, b"1")
    await until(lambda: near.reports > reports)
    for _ in range(2):
        assert await near.get(KEY) == b"1"
    assert KEY in near.keys


async def test_a_server_without_reports_is_used_without_memory(acl_server: Server) -> None:
    url = acl_server.url.replace("redis://", "redis://web:secret@") + "?prefix=cm:"
    near = NearStore(opened(url.replace("redis://web:secret@:root@", "redis://web:secret@")))
    await near.open()
    assert await near.get(KEY) is None
    assert not near.is_awake()
    await near.aclose()


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
async def test_every_node_of_a_cluster_reports(cluster: Cluster) -> None:
    near, other = NearStore(opened(cluster.url)), opened(cluster.url)
    await near.open()
    await near.get_many([b"e:{%d}" % number for number in range(40)])
    await until(near.is_awake)
    assert len(near.watches) == 3
    for number in range(40):
        key = b"e:{%d}" % number
        await near.get(key)
        reports = near.reports
        await other.set(key, b"new", ttl=60_000)
        await until(lambda reports=reports: near.reports > reports)  # type: ignore[misc]
        assert await near.get(key) == b"new"
    await near.aclose()
    await other.aclose()


def test_a_second_event_loop_does_without_memory(server: Server) -> None:
    near = NearStore(opened(server.url))
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(awake(near))
        watches = dict(near.watches)
        second.run(put(near, b"1"))
        for runner in (second, first, second):
            assert runner.run(near.get(KEY)) == b"1"
        assert near.watches == watches
        second.run(near.aclose())
        assert near.watches == watches
        first.run(near.aclose())
        assert not near.watches


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # left open
def test_what_was_being_read_as_a_loop_was_closed_is_kept_in_the_next_one(server: Server) -> None:
    near = NearStore(opened(server.url + "?deadline=30s"))

    async def leave_amid_a_read() -> None:
        await awake(near)
        await put(near, b"1")
        server.stop()
        near.get_many((KEY,))
        for watch in near.watches.values():
            await watch.aclose()

    async def is_kept() -> bool:
        await awake(near)
        await near.get(KEY)
        return KEY in near.keys

    with asyncio.Runner() as first:
        first.run(leave_amid_a_read())
    server.cont()
    with asyncio.Runner() as second:
        assert second.run(is_kept())
        second.run(near.aclose())
    gc.collect()
