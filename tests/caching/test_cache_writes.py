"""Writes to the source of values: no older value outlives one, wherever it stops.

First the scripts against their twins on real servers, then what they are for.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.caching.cache import Cache
from cachemw.caching.data import DataEntry, DataHeader, pack
from cachemw.caching.hosts import ADMIT, KEY, ORIGINS, Hosts
from cachemw.caching.leases import KEEP, LEASE
from cachemw.caching.writes import BAR, HOLD, RETIME, SETTLE, WITHDRAW
from cachemw.errors import StoreUnavailable
from cachemw.messages import RequestHead
from cachemw.scripts import Reply, Script
from cachemw.stores import open_store
from cachemw.stores.base import Store, seal
from cachemw.stores.memory import MemoryStore
from cachemw.testing import FakeClock, Twins
from cachemw.testing.twins import LOOK
from cachemw.tokens import ISSUE, REDEEM

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server_store(redis_url: str) -> AsyncIterator[Store]:
    store = open_store(f"{redis_url}?prefix=&deadline=5s")
    yield store
    await store.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def cache(store: MemoryStore) -> Cache:
    return Cache(store)


# --- scripts and twins

ENTRY, HOLDERS = b"d:{k}", b"dl:{k}"
RECORD = seal(ENTRY, pack(DataEntry(DataHeader(1, 60.0, 50, 0, (), 0.0), b"\x01", 2**50)))


class Timeless(Twins):
    """Compares what both hold but for instants, which are each one's own."""

    async def compare(self, after: str) -> None:
        for key in self.keys:
            twin, lua = [await store.run(LOOK, (key,), ()) for store in (self.memory, self.server)]
            assert timeless(twin) == timeless(lua), f"after {after}: {key!r}"
            assert lives(twin) == pytest.approx(lives(lua), abs=5000), f"after {after}: {key!r}"


def timeless(found: Reply) -> list[bytes]:
    kept = found if isinstance(found, list) else []
    return sorted(re.sub(rb"\d{13,}", b"T", one) for one in kept if isinstance(one, bytes))


def lives(found: Reply) -> int:
    ttl = found[0] if isinstance(found, list) else None
    return ttl if isinstance(ttl, int) else -2


Step = tuple[Script, tuple[bytes, ...], tuple[bytes, ...]]


def hold(token: bytes, lives: bytes = b"60000") -> Step:
    return HOLD, (ENTRY, HOLDERS), (token, lives)


def settle(token: bytes = b"", entry: bytes = RECORD) -> Step:
    return SETTLE, (ENTRY, HOLDERS), (token, entry, b"90000")


def lease(token: bytes) -> Step:
    return LEASE, (HOLDERS,), (b"-", token, b"30000")


def keep(token: bytes) -> Step:
    return KEEP, (ENTRY, HOLDERS), (b"-", token, b"90000", RECORD)


STEPS = {
    "put": settle(),
    "forget": settle(entry=b""),
    "lease": lease(b"r"),
    "keep": keep(b"r"),
    "hold one": hold(b"one"),
    "settle one": settle(b"one"),
    "hold two": hold(b"two", b"90000"),
    "settle two": settle(b"two", b""),
    "hold past": hold(b"past", b"-1000"),
    "retime": (RETIME, (ENTRY,), (b"\0\1\2\3\4\5\6\7", b"120000")),
    "withdraw": (WITHDRAW, (ENTRY, HOLDERS), ()),
}
HISTORIES = [
    "put, retime, withdraw, withdraw, retime",
    "lease, hold one, lease, keep, settle one, lease, keep",
    "put, hold one, hold two, settle one, lease, settle two, lease, keep",
    "hold one, hold two, settle two, keep, settle one, lease, keep",
    "hold two, hold past, settle two",
    "hold two, hold past, hold one, settle one",
    "hold past, lease, keep",
    "hold one, put, settle one, put, forget",
    "hold one, withdraw, hold two, settle one, settle two",
    "lease, put, keep, lease, forget, keep",
]


@pytest.mark.parametrize("history", HISTORIES)
async def test_scripts_do_what_their_twins_do(server_store: Store, history: str) -> None:
    twins = Timeless(server_store, [ENTRY, HOLDERS])
    for name in history.split(", "):
        script, keys, args = STEPS[name]
        await twins.run(script, keys, args)


async def test_on_keys_of_another_type_too(server_store: Store) -> None:
    for name in STEPS:
        twins = Timeless(server_store, [ENTRY, HOLDERS])
        await server_store.delete([ENTRY, HOLDERS])
        # A string where a hash belongs, and the other way round.
        await twins.run(SETTLE, (HOLDERS, ENTRY), (b"", RECORD, b"60000"))
        await twins.run(ISSUE, (ENTRY,), (b"i", b"h", b"d", b"5", b"60000"))
        script, keys, args = STEPS[name]
        await twins.run(script, keys, args)


async def test_bars_origins_and_tokens_are_twins(server_store: Store) -> None:
    mark, stamp = b"p:{s1}", b"t:{s1}:a"
    twins = Timeless(server_store, [mark, stamp, b"o", b"k"])
    seal_of = server_store.sealed(stamp, b"")
    for now, bar, found in [
        (100, 200, b""),
        (110, 300, b""),
        (120, 300, b"200"),
        (130, 200, b"0"),
        (140, 400, b""),
        (150, 200, b"0"),
        (160, 400, b"200"),
    ]:
        args = (b"%d" % now, b"%d" % bar, b"90000", b"60000", seal_of, found)
        await twins.run(BAR, (mark, stamp), args)
    for origin, lives in [(b"a", 10_000), (b"b", 90_000), (b"c", 50_000), (b"a", 70_000)]:
        await twins.run(ADMIT, (b"o",), (origin, b"%d" % lives, b"2"))
    await twins.run(ADMIT, (b"o",), (b"past", b"-1000", b"9"))
    await twins.run(ADMIT, (b"o",), (b"d", b"5000", b"3"))
    await twins.run(ORIGINS, (b"o",), (), view=timeless)
    await twins.run(ISSUE, (b"k",), (b"i", b"h", b"d", b"2", b"60000"))
    for locator, digest in [(b"x", b"h"), (b"i", b"?"), (b"i", b"h"), (b"i", b"h")]:
        await twins.run(REDEEM, (b"k",), (locator, digest))
    await twins.run(ISSUE, (b"k",), (b"i", b"h", b"d", b"2", b"60000"))
    for digest in (b"?", b"?", b"h"):
        await twins.run(REDEEM, (b"k",), (b"i", digest))


# --- what they are for


class Database:
    """The source of one value, and readers and writers that stop wherever the test says."""

    def __init__(self) -> None:
        self.value = "old"

    async def read(self) -> str:
        return self.value

    def write(self, value: str) -> str:
        self.value = value
        return f"wrote {value}"


async def test_write_through_writes_then_keeps(cache: Cache) -> None:
    database = Database()
    await cache.get_or_set("k", database.read, "5m")
    assert await cache.write_through("k", "new", database.write, "5m") == "wrote new"
    assert database.value == "new"
    assert await cache.get("k") == "new"


async def test_while_it_writes_readers_find_nothing_and_keep_nothing(cache: Cache) -> None:
    database = Database()
    await cache.get_or_set("k", database.read, "5m")
    slow_read = asyncio.Event()

    async def read_slowly() -> str:
        value = database.value
        await slow_read.wait()
        return value

    await cache.delete("k")
    reader = asyncio.create_task(cache.get_or_set("k", read_slowly, "5m"))
    await wait_all_tasks_blocked()
    async with cache.writing(keys="k"):
        assert await cache.get("k") is None
        # `cache` would join the slow reader: another worker.
        other = Cache(cache.store)
        assert await other.get_or_set("k", database.read, "5m", lease_wait=0) == "old"
        assert await other.get("k") is None
        database.value = "new"
    slow_read.set()
    assert await reader == "old"  # it began before
    assert await cache.get("k") is None  # and is not kept
    assert await cache.get_or_set("k", database.read, "5m") == "new"


async def test_a_writer_that_fails_leaves_nothing(cache: Cache) -> None:
    await cache.set("k", "old", "5m", tags=["t"])

    def fail(value: str) -> None:
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError):
        await cache.write_through("k", "new", fail, "5m")
    assert await cache.get("k") is None
    assert await cache.get_or_set("k", lambda: "read", "5m") == "read"


async def test_a_writer_has_its_time(cache: Cache) -> None:
    with pytest.raises(TimeoutError):
        async with cache.writing(keys="k", within="10ms"):
            await asyncio.Event().wait()


async def test_two_writers_at_once_keep_nothing(cache: Cache, store: MemoryStore) -> None:
    other, turns = Cache(store), [asyncio.Event(), asyncio.Event()]

    async def write(at: int) -> None:
        await turns[at].wait()

    first = asyncio.create_task(cache.write_through("k", 1, lambda _: write(0), "5m"))
    second = asyncio.create_task(other.write_through("k", 2, lambda _: write(1), "5m"))
    await wait_all_tasks_blocked()
    turns[1].set()
    await second
    assert await cache.get("k") is None
    assert await cache.get_or_set("k", lambda: "?", "5m", lease_wait=0) == "?"
    assert await cache.get("k") is None  # the other one is still writing
    turns[0].set()
    await first
    assert await cache.get("k") is None  # who came last is unknown
    assert await cache.get_or_set("k", lambda: 1, "5m", lease_wait=0) == 1
    assert await cache.get("k") == 1


async def test_purges_go_with_a_write(cache: Cache) -> None:
    await cache.set("list", [1], "5m", tags=["product:3"])
    await cache.write_through(
        "product:3", 2, lambda _: None, "5m", purges="product:3", tags="product:3"
    )
    assert await cache.get_many(["list", "product:3"]) == {"product:3": 2}


async def test_bars_of_tags_overlap(cache: Cache, clock: FakeClock) -> None:
    async def is_kept() -> bool:
        clock.advance("1ms")
        await cache.set("k", 1, "5m", tags=["t"])
        return await cache.get("k") == 1

    one, two = cache.writing(tags="t"), cache.writing(tags="t")
    assert await is_kept()
    await one.__aenter__()
    assert not await is_kept()
    clock.advance("1ms")
    await two.__aenter__()
    await two.__aexit__(None, None, None)
    assert not await is_kept()  # `one` is still writing
    await one.__aexit__(None, None, None)
    assert await is_kept()


class Crash(BaseException):
    """The process is gone: nothing of it runs any more."""


class DyingStore(MemoryStore):
    """A memory that others share, and that this process does not reach after so many verbs."""

    def __init__(self, shared: MemoryStore, verbs: int) -> None:
        super().__init__()
        self.keyspace = shared.keyspace
        self.verbs = verbs

    def _at_once(self, step: Any) -> Any:
        self.verbs -= 1
        if self.verbs < 0:
            raise Crash
        return super()._at_once(step)


@given(
    verbs=st.integers(0, 12),
    reads_during=st.booleans(),
    survives_write=st.booleans(),
    by_tag=st.booleans(),
    reader_began_before=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_after_a_crash_anywhere_there_is_no_old_value(
    verbs: int, reads_during: bool, survives_write: bool, by_tag: bool, reader_began_before: bool
) -> None:
    """A writer dies after any number of steps, before or after its database has committed, while
    another worker reads at any moment. Once its time is over, all read what the database says."""

    async def scenario() -> None:
        clock, database = FakeClock(), Database()
        shared = MemoryStore(clock=clock)
        reader = Cache(shared)
        key_or_tag: dict[str, Any] = {"tags": ["t"]} if by_tag else {"keys": ["k"]}

        async def read() -> str:
            clock.advance("1ms")
            return await reader.get_or_set("k", database.read, "1h", tags=["t"], lease_wait=0)

        finish = asyncio.Event()

        async def read_slowly() -> str:
            value = database.value
            await finish.wait()
            return value

        await reader.get_or_set("warm", lambda: 1, "1h", tags=["t"])
        slow = None
        if reader_began_before:
            slow = asyncio.create_task(Cache(shared).get_or_set("k", read_slowly, "1h", tags=["t"]))
            await wait_all_tasks_blocked()
        else:
            await read()
        clock.advance("1ms")
        writer = Cache(DyingStore(shared, verbs))
        has_begun = False
        try:
            async with writer.writing(**key_or_tag, within="10s"):
                has_begun = True
                if reads_during:
                    await read()
                database.value = "new"
                if reads_during:
                    await read()
                if not survives_write:
                    raise Crash
        except Crash:
            pass
        finish.set()
        if slow is not None:
            await slow
        if has_begun and reads_during:
            await read()
        clock.advance("12s")
        assert await read() == database.value
        assert await reader.get("k") == database.value

    asyncio.run(scenario())


async def test_the_list_of_origins_is_bounded_and_recovers(
    store: MemoryStore, clock: FakeClock
) -> None:
    hosts, other = Hosts(store), Hosts(store)

    def at(host: bytes) -> RequestHead:
        return RequestHead("GET", "https", host, b"/")

    assert await hosts.admit(at(b"Shop.example"), 60)
    for number in range(255):
        assert await hosts.admit(at(b"junk%d" % number), 60)
    assert not await other.admit(at(b"late"), 60)
    assert await other.admit(at(b"shop.example"), 3600)
    assert ("https", b"shop.example") in await other.known()
    clock.advance("15m")
    assert await other.known() == [("https", b"shop.example")]
    assert await other.admit(at(b"late"), 60)
    await store.aclose()
    assert await other.admit(at(b"late"), 60)  # no trip
    with pytest.raises(StoreUnavailable):
        await other.admit(at(b"new"), 60)


async def test_a_list_of_origins_that_was_lost_is_soon_there_again(
    store: MemoryStore, clock: FakeClock
) -> None:
    """As long as what was stored before, whatever is stored by then."""
    hosts, request = Hosts(store), RequestHead("GET", "https", b"shop.example", b"/")
    assert await hosts.admit(request, 86_400)
    await store.delete([KEY])
    clock.advance("10s")
    assert await hosts.admit(request, 60)
    assert await hosts.known() == [("https", b"shop.example")]
    clock.advance("23h")
    assert await hosts.known() == [("https", b"shop.example")]
