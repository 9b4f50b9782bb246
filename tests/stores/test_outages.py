"""What becomes of calls while a server is away, frozen, full, busy, or does not let us in."""

import asyncio
import logging
from collections.abc import Callable

import pytest
import redis.asyncio
from anyio import to_thread

from cachemw.errors import StoreUnavailable
from cachemw.scripts import Script
from cachemw.stores.breaker import Breaker
from cachemw.stores.redis import RedisStore
from tests.servers import Server
from tests.stores.conftest import Opener
from tests.stores.scripts import COUNT, ECHO, SPIN

pytestmark = pytest.mark.anyio

DEADLINE = 0.2


async def outcome(awaitable: object) -> object:
    try:
        return await awaitable  # type: ignore[misc]
    except StoreUnavailable as error:
        return error.reason


@pytest.fixture
async def store(server: Server, opened: Opener) -> RedisStore:
    """A store that has been in use, with a value for `k`."""
    store = opened(server.url, deadline=DEADLINE)
    await store.set(b"k", b"v", ttl=600_000)
    return store


async def recovered(store: RedisStore, good: Callable[[object], bool] = lambda v: v == b"v") -> int:
    """Ask again and again until there is an answer. How many refusals it took, one each 10 ms."""
    for attempt in range(1000):
        if good(await outcome(store.get(b"k"))):
            return attempt
        await asyncio.sleep(0.01)
    pytest.fail("the store did not recover")


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that comes true without our asking."""
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come true")


def is_connected(store: RedisStore) -> bool:
    """Whether the loop has not heard yet that its connection was closed."""
    [node] = store._topology().known_nodes()
    return node.lane._transport is not None


def is_answered(value: object) -> bool:
    return value is None or isinstance(value, bytes)


# --- away


async def test_a_server_that_was_never_there_harms_nobody(
    server: Server, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    store = opened(server.url, deadline=DEADLINE)
    await store.open()
    assert "does not answer yet" in caplog.text
    assert {await outcome(store.get(b"k")) for _ in range(20)} <= {"connection", "breaker-open"}
    assert list(store.breakers().values()) == [True]
    server.start()
    await recovered(store, is_answered)


async def test_a_killed_server_is_found_again_when_it_is_back(
    server: Server, store: RedisStore
) -> None:
    server.kill()
    reasons = {await outcome(store.get(b"k")) for _ in range(20)}
    assert reasons <= {"connection", "breaker-open"} and "breaker-open" in reasons
    await to_thread.run_sync(server.start)
    attempts = await recovered(store, is_answered)
    assert attempts < 100  # hundredths of a second


async def test_a_server_that_is_back_is_noticed_by_itself(
    server: Server, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has to be the one who is refused to find out."""
    server.kill()
    for _ in range(5):
        await outcome(store.get(b"k"))
    server.start()
    await until(lambda: not any(store.breakers().values()))  # no calls meanwhile
    assert await store.get(b"k") is None
    assert "does not answer; doing without" in caplog.text
    assert "answers again" in caplog.text


async def test_h1_a_connection_that_was_closed_while_idle_costs_nobody_anything(
    server: Server, store: RedisStore
) -> None:
    for _ in range(3):
        killed = await to_thread.run_sync(server.ask, "CLIENT", "KILL", "TYPE", "normal")
        assert killed >= 1
        await until(lambda: not is_connected(store))
        assert await store.get(b"k") == b"v"


async def test_a_restart_between_two_calls_loses_scripts_and_nothing_else(
    server: Server, store: RedisStore
) -> None:
    assert await store.run(ECHO, (b"k",), (b"1",)) == [b"1"]
    server.kill()
    server.start()
    await until(lambda: not is_connected(store))
    assert await store.run(ECHO, (b"k",), (b"2",)) == [b"2"]
    server.ask("SCRIPT", "FLUSH")
    assert await store.run(ECHO, (b"k",), (b"3",)) == [b"3"]


# --- frozen


async def test_a_frozen_server_costs_one_deadline_once(server: Server, store: RedisStore) -> None:
    loop = asyncio.get_running_loop()
    server.stop()
    began = loop.time()
    crowd = [store.get_many((b"k",)) for _ in range(200)]
    assert {await outcome(call) for call in crowd} == {"timeout"}
    assert loop.time() - began < 3 * DEADLINE  # all of them together, on a busy machine
    assert list(store.breakers().values()) == [True]

    began = loop.time()
    assert {await outcome(store.get(b"k")) for _ in range(1000)} == {"breaker-open"}
    assert loop.time() - began < 2.0  # two milliseconds each would be this

    server.cont()
    assert await recovered(store) < 100
    assert await store.run(ECHO, (b"k",), (b"1",)) == [b"1"]
    (node,) = store._topology().known_nodes()
    assert node.is_idle


async def test_a_frozen_server_is_not_sent_more_than_it_may_ever_take(
    server: Server, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachemw.stores.lane.MOST_UNSENT", 1 << 20)
    large = bytes(30 << 20)
    server.stop()
    first = store.set(b"large", large, ttl=60_000)
    (node,) = store._topology().known_nodes()
    await until(lambda: node.beside._is_full)
    assert await outcome(store.set(b"larger", large, ttl=60_000)) == "overloaded"
    assert await outcome(first) == "timeout"
    server.cont()
    await store.set(b"k", b"v", ttl=600_000)


async def test_a_server_that_freezes_and_thaws_leaves_no_connections(
    server: Server, store: RedisStore
) -> None:
    for _ in range(3):
        server.stop()
        for _ in range(6):
            await outcome(store.get(b"k"))
        server.cont()
        await recovered(store)
    clients = str(server.ask("CLIENT", "LIST")).splitlines()
    assert len(clients) <= 2  # the store's, and the one that asks


# --- there, but unable


async def test_while_it_loads_its_data_the_server_refuses(server: Server, opened: Opener) -> None:
    server.ask("DEBUG", "POPULATE", 3000, "filler", 1000)
    server.ask("SAVE")
    server.kill()
    server.options = [
        *(*server.options, "--dbfilename", "dump.rdb", "--key-load-delay", "500"),
        *("--loading-process-events-interval-bytes", "1024"),
    ]
    server.launch()
    store = opened(server.url, deadline=DEADLINE)
    seen: set[object] = set()
    while (answer := await outcome(store.get(b"k"))) is not None:
        seen.add(answer)
        await asyncio.sleep(0.01)
    assert "refused" in seen and seen <= {"refused", "connection", "breaker-open", "timeout"}


async def test_a_script_that_never_ends_is_an_outage(server: Server, store: RedisStore) -> None:
    server.ask("CONFIG", "SET", "busy-reply-threshold", 50)
    assert await outcome(store.run(SPIN, (b"k",), ())) == "timeout"
    answers = {await outcome(store.get(b"k")) for _ in range(20)}
    assert answers <= {"timeout", "refused", "breaker-open", "connection"}
    server.ask("SCRIPT", "KILL")
    await recovered(store)


async def test_when_memory_is_full_reads_go_on(server: Server, store: RedisStore) -> None:
    server.ask("CONFIG", "SET", "maxmemory", 1)
    assert await store.get(b"k") == b"v"
    assert await outcome(store.set(b"other", b"v", ttl=1000)) == "refused"
    assert await outcome(store.run(COUNT, (b"c",), ())) == "refused"
    assert await store.delete((b"k",)) == 1
    assert not any(store.breakers().values())
    server.ask("CONFIG", "SET", "maxmemory", 0)
    await store.set(b"other", b"v", ttl=1000)


async def test_a_replica_is_read_and_not_written(server: Server, store: RedisStore) -> None:
    server.ask("REPLICAOF", "127.0.0.1", "1")
    assert await store.get(b"k") == b"v"
    assert await outcome(store.set(b"other", b"v", ttl=1000)) == "refused"
    server.ask("REPLICAOF", "NO", "ONE")
    await store.set(b"other", b"v", ttl=1000)


async def test_a_server_with_too_many_clients_is_an_outage(
    server: Server, store: RedisStore, opened: Opener
) -> None:
    server.ask("CONFIG", "SET", "maxclients", 2)
    crowd = [opened(server.url, deadline=DEADLINE) for _ in range(4)]
    outcomes = [await outcome(each.get(b"k")) for each in crowd]
    assert set(outcomes) <= {b"v", "connection", "refused"} and outcomes.count(b"v") <= 1
    assert await store.get(b"k") == b"v"
    for each in crowd:
        await each.aclose()
    server.ask("CONFIG", "SET", "maxclients", 100)
    assert await opened(server.url).get(b"k") == b"v"


async def test_a_key_of_another_type_is_a_miss(server: Server, store: RedisStore) -> None:
    server.ask("DEL", "cmw:k")
    server.ask("LPUSH", "cmw:k", "not", "ours")
    assert await store.get_many((b"k", b"other")) == [None, None]
    assert await outcome(store.run(COUNT, (b"k",), ())) == "refused"
    await store.set(b"k", b"v", ttl=60_000)
    assert await store.get(b"k") == b"v"


async def test_everything_flushed_is_a_miss(server: Server, store: RedisStore) -> None:
    before = await store.time()
    server.ask("FLUSHALL")
    assert await store.get(b"k") is None
    assert await store.time() > before


# --- not let in


async def test_a_wrong_password_is_an_outage_that_does_not_tell_it(
    acl_server: Server, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"redis://web:hunter2@127.0.0.1:{acl_server.port}?prefix=cm:"
    store = opened(url, deadline=DEADLINE)
    await store.open()
    reasons = [await outcome(store.get(b"k")) for _ in range(8)]
    assert set(reasons) <= {"connection", "breaker-open"}
    with pytest.raises(StoreUnavailable) as caught:
        await store.get(b"k")
    shown = f"{caught.value} {caught.value!r} {store!r} {store.target!r} {caplog.text}"
    assert "hunter2" not in shown
    log = [line for line in caplog.messages if "not answer" in line]
    assert len(log) == 2  # once at start-up, once when the breaker opened


async def test_no_password_where_one_is_needed_is_refused(
    acl_server: Server, opened: Opener
) -> None:
    store = opened(f"redis://127.0.0.1:{acl_server.port}")
    with pytest.raises(StoreUnavailable, match="NOAUTH"):
        await store.get(b"k")


async def test_a_user_who_may_little_is_told_what_is_missing(
    acl_server: Server, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(f"redis://web:secret@127.0.0.1:{acl_server.port}?prefix=cm:")
    await store.set(b"k", b"v", ttl=60_000)
    assert await store.get(b"k") == b"v"
    assert await outcome(store.delete((b"k",))) == "refused"
    await store.open()
    for missing in ("UNLINK", "EVALSHA", "SCAN"):
        assert missing in caplog.text
    assert "MGET" not in caplog.text


# --- loops


def test_h11_each_event_loop_has_connections_of_its_own(redis_url: str) -> None:
    store = RedisStore(redis.asyncio.from_url(redis_url), deadline="5s")

    async def use(script: Script) -> None:
        await store.set(b"k", b"v", ttl=60_000)
        assert await store.get(b"k") == b"v"
        assert await store.run(script, (b"k",), (b"1",)) == [b"1"]
        await store.aclose()

    for _ in range(3):
        asyncio.run(use(ECHO))
    assert len(store._topologies) == 1  # those of closed loops are forgotten


def test_it_works_on_uvloop(redis_url: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    from cachemw.testing import check_store

    async def check() -> None:
        store = RedisStore(redis.asyncio.from_url(redis_url), deadline="5s")
        await check_store(store)
        await store.aclose()

    uvloop.run(check())


def test_on_uvloop_every_call_to_a_frozen_server_ends(valkey: Server) -> None:
    """Its timers ring up to half a millisecond early, and what is then due at once has no timer."""
    uvloop = pytest.importorskip("uvloop")

    async def check() -> None:
        store = RedisStore(
            redis.asyncio.from_url(valkey.url),
            deadline=0.02,
            breaker=lambda: Breaker(failures=1000),
        )
        await store.get(b"k")
        valkey.stop()
        for _ in range(20):
            async with asyncio.timeout(10):
                assert await outcome(store.get(b"k")) in ("timeout", "connection")
        await store.aclose()

    uvloop.run(check())
